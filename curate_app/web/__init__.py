"""One HTTP app: what stands before every route, and how it is put together."""
