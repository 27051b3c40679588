//! What a whole frame is: parsed once, rewritten in place.
