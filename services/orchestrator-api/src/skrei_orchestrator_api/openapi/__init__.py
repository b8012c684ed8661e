"""The API's own description: an OpenAPI 3.1 document and a page, both made of what stands at the routes."""
