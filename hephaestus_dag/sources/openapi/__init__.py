"""How OpenAPI descriptions are read: files and references, schemas, and whose API it is."""
