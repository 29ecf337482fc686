//! How many calls may be under way at once.

pub mod adaptive;
