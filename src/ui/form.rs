//! What a form sends.

use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use url::form_urlencoded;

use crate::domain::failure::{Failure, Kind};
use crate::http::control::ControlState;
use crate::http::input::whole;
use crate::http::problem::ApiError;

/// The fields of a form, in its order.
#[derive(Default)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// What a field holds as it was typed; empty also if it is not there.
    #[must_use]
    pub fn raw(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// What a field holds, without spaces around it.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.raw(name).trim()
    }

    /// The same; `None` if it is empty.
    #[must_use]
    pub fn filled(&self, name: &str) -> Option<&str> {
        Some(self.text(name)).filter(|text| !text.is_empty())
    }
}

impl FromRequest<ControlState> for Form {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &ControlState) -> Result<Self, ApiError> {
        let kind =
            request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.is_empty() && !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(Failure::new(Kind::Invalid, "this page takes forms only").into());
        }
        let body = whole(request).await?;
        Ok(Self(form_urlencoded::parse(&body).into_owned().collect()))
    }
}
