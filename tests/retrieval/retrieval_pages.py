"""Pages for the retrieval tests: tools, prose, and a seed corpus that resembles the tools."""

AGENT_PAGES = [
    "GET /users/{id} returns one user of the account. Parameters: id, the identifier of the user. Responses: 200, 404.",
    "POST /messages sends an SMS message to a phone number. Body: to (string), text (string). Returns the message id.",
    "DELETE /buckets/{name} removes a storage bucket. Parameters: name of the bucket, force to delete its objects too.",
    "search_flights(origin, destination, date): function that lists flights between two airports on a day.",
    "The create_invoice endpoint takes customer_id and amount and returns the invoice object as JSON.",
    "list_events(calendar_id, limit): returns calendar events. Arguments: calendar_id, string; limit, integer.",
]
JUNK_PAGES = [
    "The old harbour town sleeps under snow while fishermen mend their nets beside the fire.",
    "She won the marathon in the rain, and the crowd along the river cheered until evening.",
    "Roses need pruning in early spring; cut back dead wood and feed the soil with compost.",
    "The parliament debated the new tax for nine hours before the vote was postponed again.",
    "Grandmother's soup began with onions, butter and a long story about the winter of 1947.",
    "The violin concerto ends with a slow movement in which the orchestra falls almost silent.",
    "Wolves returned to the valley, and the sheep farmers asked for higher fences and dogs.",
    "The museum shows paintings of storms at sea, bought by a merchant in the eighteenth century.",
]
SEED_PAGES = [
    "PUT /users/{id} updates a user. Parameters: id, string; name, string. Returns the updated user object.",
    "send_email(to, subject, body): function that sends an email message and returns its identifier.",
    "GET /invoices lists the invoices of an account. Parameters: limit, integer; cursor, string. Responses: 200, 401.",
    "POST /buckets creates a storage bucket with a name and a region, and returns the bucket as JSON.",
    "book_hotel(city, check_in, nights): function that books a hotel room for some nights.",
]
