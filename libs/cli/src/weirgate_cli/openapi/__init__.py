"""OpenAPI 3.0, 3.1 and Swagger 2.0: the routes of a resource, as its API document has them. Local files only."""
