//! Names outside that follow the wan address.
