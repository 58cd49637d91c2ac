//! Regularisation: masks are explicit values, drawn from the random stream and kept by the caller.

pub mod dropout;
pub mod masks;
pub mod zoneout;
