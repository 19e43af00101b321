//! Network cards made of software: a strict 82599, the wire between ports, traffic and faults
#![forbid(unsafe_code)]
