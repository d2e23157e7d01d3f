//! What a form sends.

use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use maud::{Markup, html};
use url::form_urlencoded;

use crate::domain::failure::{Failure, Kind};
use crate::http::control::ControlState;
use crate::http::input::whole;
use crate::http::problem::ApiError;

/// The fields of a form, in its order.
#[derive(Default)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// A form that was not sent.
    #[cfg(test)]
    #[must_use]
    pub fn of(fields: Vec<(String, String)>) -> Self {
        Self(fields)
    }

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

/// Why a form was not taken, for the page that shows it again.
pub struct Refused {
    status: StatusCode,
    message: String,
}

impl Refused {
    #[must_use]
    pub fn of(error: &ApiError) -> Self {
        Self { status: error.kind().http_status(), message: error.to_string() }
    }

    /// Of an error that whoever sent the form can mend.
    ///
    /// # Errors
    /// Any other.
    pub fn of_form(error: ApiError) -> Result<Self, ApiError> {
        match error.kind() {
            Kind::Invalid | Kind::Conflict | Kind::Forbidden => Ok(Self::of(&error)),
            _ => Err(error),
        }
    }

    #[must_use]
    pub fn notice(&self) -> Markup {
        html! { div.notice.bad role="alert" { p { strong { "Nothing was changed. " } (self.message) "." } } }
    }

    /// The page with the status of the refusal.
    #[must_use]
    pub fn on(&self, mut page: Response) -> Response {
        *page.status_mut() = self.status;
        page
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
