//! What an event of a streamed answer means.

use super::ApiError;

/// An event of a stream, as far as its outcome is concerned.
///
/// A streamed answer is one call, and its verdict comes with its last event: a success at
/// [`End`](Self::End), the error's [`classification`](ApiError::classification) at
/// [`Error`](Self::Error), a failure if the stream ends before either. Made by
/// [`openai::stream_part`](super::openai::stream_part) and
/// [`anthropic::stream_part`](super::anthropic::stream_part).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamPart {
    /// A part of the answer: more is to come.
    Item,
    /// The answer is complete.
    End,
    /// The answer failed under way; there is no more to come.
    Error(ApiError),
}
