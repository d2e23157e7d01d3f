//! `/oauth`: sign-in for programs that have no browser of their own (RFC 8628), in the words of OAuth 2.0 (RFC 6749), and
//! what tells them where that is (RFC 8414). Command lines such as Claude Code's sign in this way.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use url::form_urlencoded;

use crate::accounts::{DEVICE_LOGIN_MAX, DEVICE_POLL, DeviceRefusal, Error};
use crate::domain::failure::{Failure, Kind};
use crate::http::auth::{self, SessionView};
use crate::http::browser::AskedAt;
use crate::http::input::{ClientAddr, whole};
use crate::http::state::ControlState;

const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
const REFRESH_GRANT: &str = "refresh_token";

/// Where programs sign in. Clients want it at the very origin that they asked, so that is what it names.
pub async fn metadata(AskedAt(site): AskedAt) -> Response {
    uncached(Json(json!({
        "issuer": site.to_string(),
        "device_authorization_endpoint": format!("{site}/oauth/device_authorization"),
        "token_endpoint": format!("{site}/oauth/token"),
        "grant_types_supported": [DEVICE_GRANT, REFRESH_GRANT],
        "token_endpoint_auth_methods_supported": ["none"],
        "response_types_supported": [],
    })))
}

/// Two codes for a program: one to ask with, one to show.
pub async fn device_authorization(
    State(state): State<ControlState>,
    ClientAddr(address): ClientAddr,
    AskedAt(site): AskedAt,
    request: Request,
) -> Result<Response, Refusal> {
    let fields = Fields::of(request).await?;
    let login =
        state.accounts.begin_device_login(fields.get("client_id").unwrap_or_default(), address).await?;
    let page = format!("{}/device", state.sites.public_url(&site));
    Ok(uncached(Json(json!({
        "device_code": login.device_code,
        "user_code": login.user_code,
        "verification_uri": page,
        "verification_uri_complete": format!("{page}?user_code={}", login.user_code),
        "expires_in": DEVICE_LOGIN_MAX.as_secs(),
        "interval": DEVICE_POLL.as_secs(),
    }))))
}

/// The tokens of a session, for a device code that somebody has agreed to, or for the last refresh token.
pub async fn token(State(state): State<ControlState>, request: Request) -> Result<Response, Refusal> {
    let fields = Fields::of(request).await?;
    let session = match fields.get("grant_type") {
        Some(DEVICE_GRANT) => state.accounts.redeem_device_code(fields.required("device_code")?).await?,
        Some(REFRESH_GRANT) => {
            let token = fields.required("refresh_token")?;
            auth::check_at_provider(&state, token).await?;
            state.accounts.refresh(token).await?
        }
        Some(_) => {
            let text = format!("grant_type has to be {DEVICE_GRANT} or {REFRESH_GRANT}");
            return Err(Refusal::bad("unsupported_grant_type", text));
        }
        None => return Err(Refusal::bad("invalid_request", "grant_type is missing")),
    };
    Ok(uncached(Json(SessionView::from(session))))
}

/// The fields of a form.
struct Fields(Vec<(String, String)>);

impl Fields {
    async fn of(request: Request) -> Result<Self, Refusal> {
        let body =
            whole(request).await.map_err(|error| Refusal::bad("invalid_request", error.to_string()))?;
        Ok(Self(form_urlencoded::parse(&body).into_owned().collect()))
    }

    /// A field that is there once. One that is there twice means nothing (RFC 6749, section 3.2).
    fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().filter(|(key, _)| key == name);
        let (first, second) = (values.next(), values.next());
        first.filter(|_| second.is_none()).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    fn required(&self, name: &'static str) -> Result<&str, Refusal> {
        let missing = || Refusal::bad("invalid_request", format!("{name} is missing, or there twice"));
        self.get(name).ok_or_else(missing)
    }
}

/// An error in OAuth's words (RFC 6749, section 5.2).
pub struct Refusal {
    status: StatusCode,
    error: &'static str,
    description: String,
    retry_after: Option<u64>,
}

impl Refusal {
    fn bad(error: &'static str, description: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error, description: description.into(), retry_after: None }
    }
}

impl From<DeviceRefusal> for Refusal {
    fn from(refusal: DeviceRefusal) -> Self {
        let description = refusal.to_string();
        match refusal {
            DeviceRefusal::Pending => Self::bad("authorization_pending", description),
            DeviceRefusal::SlowDown => Self::bad("slow_down", description),
            DeviceRefusal::Denied => Self::bad("access_denied", description),
            DeviceRefusal::Expired => Self::bad("expired_token", description),
            DeviceRefusal::Failed(error) => error.into(),
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        // Clients go back to the browser when they get a 401, and only then.
        let is_over = matches!(error, Error::WrongRefreshToken | Error::Disabled(_));
        let failure = Failure::from(error);
        if is_over {
            return Self { status: StatusCode::UNAUTHORIZED, ..Self::bad("invalid_grant", failure.message) };
        }
        let error = match failure.kind {
            Kind::Invalid => "invalid_request",
            Kind::Unavailable | Kind::RateLimited => "temporarily_unavailable",
            _ => "server_error",
        };
        let description = if failure.kind == Kind::Internal {
            tracing::error!(error = %failure.message, "a sign-in of a program failed");
            "something went wrong here: the node's log has the details".to_owned()
        } else {
            failure.message
        };
        let retry_after = failure.retry_after.map(|wait| wait.as_secs().max(1));
        Self { status: failure.kind.http_status(), error, description, retry_after }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Json(json!({"error": self.error, "error_description": self.description}));
        let mut answer = uncached((self.status, body));
        if let Some(seconds) = self.retry_after {
            answer.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        answer
    }
}

fn uncached(answer: impl IntoResponse) -> Response {
    let mut answer = answer.into_response();
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
