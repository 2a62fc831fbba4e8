"""How the places that a recipe names are read: packages, paths and URLs, their files, and the records in them."""
