//! The list of models that a client is given, made of what the gateway offers and of what the client knows itself. Where
//! none can be made that the client is certain to read, it goes without one, and is told why.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::timeout;

use super::clients::{Access, ClientName, ModelList};
use super::codex_models::{GatewayModel, Known, catalogue};
use super::codex_program::{Codex, Silent};
use crate::cli::client::{Client, Query};
use crate::cli::error::Error;
use crate::cli::logins::Login;
use crate::cli::output::note;

/// The gateway asks its targets for their models.
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Deserialize)]
struct Offered {
    items: Vec<GatewayModel>,
}

/// The list for a client; what keeps it from being one is noted on standard error. `server`: of whose login it is where the
/// client calls through the agent.
pub async fn made(client: ClientName, access: &Access, server: Option<&str>) -> ModelList {
    if client != ClientName::Codex {
        return ModelList::None;
    }
    match client.own_model_list() {
        Ok(None) => {}
        Ok(Some(path)) => {
            note(&format!("Codex reads a catalogue of models of your own, {path}: it stays as it is"));
            return ModelList::None;
        }
        // Whoever writes the settings says so.
        Err(_) => return ModelList::None,
    }
    match codex(access, server).await {
        Ok(list) => list,
        Err(reason) => {
            let kept = client.has_model_list();
            let left = if kept { "the one from before is kept" } else { "it is connected without one" };
            note(&format!("no catalogue of models was made for Codex, {left}: {reason}"));
            if kept { ModelList::Kept } else { ModelList::None }
        }
    }
}

async fn codex(access: &Access, server: Option<&str>) -> Result<ModelList, String> {
    let offered = timeout(PATIENCE, offered(access, server)).await;
    let offered = offered.map_err(|_| "the gateway does not say which models there are".to_owned())?;
    let models = offered.map_err(|reason| reason.to_string())?;
    let program = Codex::new().map_err(|reason| reason.to_string())?;
    let known = match program.known().await {
        Ok(known) => known,
        Err(Silent::Absent) => {
            let Some((made, _)) = catalogue(&Known::default(), &models, false) else {
                return Ok(ModelList::None);
            };
            note(
                "`codex` is not among the programs here, so that what it knows of models itself is not in its catalogue: \
                 connect again where it is",
            );
            return Ok(ModelList::Written(format!("{made:#}\n")));
        }
        Err(Silent::Failed(reason)) => return Err(format!("Codex does not say what it knows: {reason}")),
    };
    let mut refusal = String::new();
    for fill in [false, true] {
        let Some((made, _)) = catalogue(&known, &models, fill) else { return Ok(ModelList::None) };
        let text = format!("{made:#}\n");
        // By an entry that is not Codex' own, so that it is certain to have read this.
        let ours = made["models"].as_array().into_iter().flatten().filter_map(|entry| entry["slug"].as_str());
        let ours: Vec<&str> = ours.collect();
        let telling = ours.iter().find(|slug| !known.has(slug)).or(ours.first()).copied().unwrap_or_default();
        match program.reads(&text, telling).await {
            Ok(()) => return Ok(ModelList::Written(text)),
            Err(reason) => refusal = reason,
        }
    }
    Err(format!("Codex does not read it: {refusal}"))
}

async fn offered(access: &Access, server: Option<&str>) -> Result<Vec<GatewayModel>, Error> {
    let client = match access {
        Access::Login { server, .. } => Client::of_login(Login::required(Some(server))?)?,
        Access::Key { server, key } => Client::new(server, key.clone())?,
        // The agent passes calls of providers' APIs on and nothing else.
        Access::Agent { .. } => Client::of_login(Login::required(server)?)?,
    };
    let answer = client.get(&["me", "models"], &Query::new()).await?;
    let unreadable = |reason: serde_json::Error| Error::Refused(format!("/me/models: {reason}"));
    let Offered { items } = serde_json::from_value(answer).map_err(unreadable)?;
    Ok(items)
}
