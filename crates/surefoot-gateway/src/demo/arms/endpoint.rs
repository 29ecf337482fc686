//! The client and the address: what all arms have in common.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response, StatusCode, header};

use super::{Failure, Verdict};

/// The HTTP client, made once and cloned into each arm. It retries nothing by itself and uses no proxy from the
/// environment: what reaches the service shall be the pipeline's doing alone.
pub(crate) fn client() -> reqwest::Result<Client> {
    Client::builder().no_proxy().retry(reqwest::retry::never()).build()
}

/// Where an arm's calls go.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) client: Client,
    pub(crate) url: String,
}

/// What came back, once it has come back whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    /// What the service asked for in `Retry-After`.
    pub(crate) retry_after: Option<Duration>,
}

impl Endpoint {
    /// Sends one request and reads the whole reply, however long it takes.
    pub(crate) async fn send(&self) -> reqwest::Result<Reply> {
        Self::receive(self.client.get(&self.url)).await
    }

    /// Sends `request` and reads the whole reply.
    pub(crate) async fn receive(request: RequestBuilder) -> reqwest::Result<Reply> {
        let response = request.send().await?;
        let reply = Reply::of(&response);
        response.bytes().await?;
        Ok(reply)
    }
}

impl Reply {
    pub(crate) fn of(response: &Response) -> Self {
        let retry_after = response.headers().get(header::RETRY_AFTER).and_then(seconds);
        Self { status: response.status(), retry_after }
    }
}

fn seconds(value: &header::HeaderValue) -> Option<Duration> {
    value.to_str().ok()?.parse().ok().map(Duration::from_secs)
}

impl Verdict {
    /// What one try, or the last of several, means to the caller.
    pub(crate) fn of(result: &reqwest::Result<Reply>) -> Self {
        match result {
            Ok(reply) if reply.status == StatusCode::OK => Self::Answered,
            Ok(reply) => Self::Failed(Failure::Status(reply.status.as_u16())),
            Err(error) if error.is_timeout() => Self::Failed(Failure::Timeout),
            Err(_) => Self::Failed(Failure::Connection),
        }
    }
}
