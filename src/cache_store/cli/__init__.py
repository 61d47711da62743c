"""`cache-store`: what operators see of the bucket. One file a command; commands do not know each other."""
