"""One file per DVC stage: read records, call, write a record. No stage imports another."""
