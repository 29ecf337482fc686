//! What can end the demo early, in words for whoever started it.

use std::fmt;
use std::io;

/// Why there is no result.
#[derive(Debug)]
pub(crate) enum Error {
    /// The runtime, a port on the loopback interface or the signal handler could not be had.
    Start(io::Error),
    /// The HTTP client could not be built.
    Client(reqwest::Error),
    /// A call ended without leaving a record. Its numbers would not add up, so none are shown.
    LostCall(tokio::task::JoinError),
    /// The results could not be written.
    Output(io::Error),
    /// Ctrl-C.
    Interrupted,
}

impl Error {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Interrupted => 130,
            Self::Start(_) | Self::Client(_) | Self::LostCall(_) | Self::Output(_) => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) => {
                write!(f, "cannot start: {error}; it needs free ports on 127.0.0.1")
            }
            Self::Client(error) => write!(f, "cannot build the HTTP client: {error}"),
            Self::LostCall(error) => {
                write!(f, "a call was lost, so the numbers would not add up: {error}")
            }
            Self::Output(error) => write!(f, "cannot write the results: {error}"),
            Self::Interrupted => f.write_str("stopped before the end, so there is no result"),
        }
    }
}
