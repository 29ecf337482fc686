//! Our bodies as reqwest's, so that a [`reqwest::Response`] can be made of a response that has been through the layers.

use bytes::Bytes;
use http_body::Body;
use reqwest::Body as ReqwestBody;

use super::{Begun, MaybeRead, WatchedBody};
use crate::BoxError;

impl<B> From<MaybeRead<B>> for ReqwestBody
where
    B: Body<Data: Send + Sync, Error: Into<BoxError> + Send + Sync> + Send + Sync + 'static,
{
    fn from(body: MaybeRead<B>) -> Self {
        Self::wrap(body)
    }
}

impl<B> From<Begun<B>> for ReqwestBody
where
    B: Body<Data: Into<Bytes> + Send + Sync, Error: Into<BoxError>> + Send + Sync + 'static,
{
    fn from(body: Begun<B>) -> Self {
        Self::wrap(body)
    }
}

impl<B> From<WatchedBody<B>> for ReqwestBody
where
    B: Body<Data: Into<Bytes>, Error: Into<BoxError>> + Send + Sync + 'static,
{
    fn from(body: WatchedBody<B>) -> Self {
        Self::wrap(body)
    }
}
