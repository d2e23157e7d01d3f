//! What a leader reads out of its followers' messages.

use crate::cluster::follower::instances::FORMER_NAMES_MAX;
use crate::cluster::follower::push::KEY_USES_MAX;
use crate::cluster::follower::sessions::SESSIONS_MAX;
use crate::cluster::leader::name_reservations::UnnamedNode;
use crate::cluster::registration::Registration;
use crate::cluster::replication::snapshot::lineage_from_wire;
use crate::cluster::replication::state::StateVersion;
use crate::domain::clock::Timestamp;
use crate::domain::failure::Failure;
use crate::domain::fence::KnownSession;
use crate::domain::ids::{InstanceId, KeyId, LedgerId, NodeId, SessionId};
use crate::domain::usage::UsageRecord;
use crate::wire::malformed::{Malformed, parse, parse_some};
use crate::wire::{moment, usage, v1};

/// How long a text of a registration may be.
const TEXT_BYTES_MAX: usize = 2_048;

/// A pushed record, if it can be read and is the sender's to push: under its own name, or under one that it `may_push_for`.
pub(super) fn parse_record(
    log: v1::UsageLog,
    sender: &NodeId,
    may_push_for: impl Fn(&NodeId) -> bool,
) -> Result<UsageRecord, Malformed> {
    let record = usage::from_wire(log)?;
    if record.source_node != *sender && !may_push_for(&record.source_node) {
        let text = format!("is {0}, which is another node, but {sender} pushed it", record.source_node);
        return Err(Malformed::invalid("source_node", text));
    }
    Ok(record)
}

/// Who speaks, and which run of it.
pub(super) fn parse_sender(node_id: &str, instance_id: &str) -> Result<(NodeId, InstanceId), Malformed> {
    Ok((parse("node_id", node_id)?, parse("instance_id", instance_id)?))
}

/// A registration as what the node remembers of earlier ones with this ledger: its id, and those. None: the node is an older
/// sproxy, and does not name it.
pub(super) fn parse_session(
    request: &v1::RegisterRequest,
    own: LedgerId,
) -> Result<Option<(SessionId, Vec<KnownSession>)>, Malformed> {
    let Some(id) = parse_some("session_id", &request.session_id)? else { return Ok(None) };
    let of: Option<LedgerId> = parse_some("sessions_ledger_id", &request.sessions_ledger_id)?;
    let known = request.sessions.iter().filter(|_| of == Some(own)).take(SESSIONS_MAX);
    let known = known.map(|session| {
        Ok(KnownSession {
            id: parse("sessions.session_id", &session.session_id)?,
            after: session.after_batch,
        })
    });
    Ok(Some((id, known.collect::<Result<_, Malformed>>()?)))
}

/// A hint for people: what cannot be read is passed over, what is too much is not looked at.
pub(super) fn parse_key_uses(request: &v1::HeartbeatRequest) -> Vec<(KeyId, Timestamp)> {
    let uses = request.key_uses.iter().take(KEY_USES_MAX);
    uses.filter_map(|told| Some((told.key_id.parse().ok()?, moment::from_wire(told.at?)))).collect()
}

/// The state that a registering node can offer, if any.
pub(super) fn parse_offer(request: &v1::RegisterRequest) -> Result<Option<StateVersion>, Malformed> {
    let ledger = parse_some("state_ledger_id", &request.state_ledger_id)?;
    let lineage =
        lineage_from_wire("state_lineage", &request.state_lineage, &request.state_lineage_versions)?;
    Ok(ledger.map(|ledger| StateVersion { ledger, version: request.state_version, lineage, pristine: false }))
}

/// A node that has no name, if the request is one's.
pub(super) fn parse_unnamed(request: &v1::RegisterRequest) -> Result<Option<UnnamedNode>, Failure> {
    if !request.node_id.is_empty() {
        return Ok(None);
    }
    check_texts(request)?;
    Ok(Some(UnnamedNode {
        instance: parse("instance_id", &request.instance_id)?,
        former: parse_former(&request.former_instance_ids)?,
    }))
}

/// What the registry is to know of a node.
pub(super) fn parse_registration(request: v1::RegisterRequest) -> Result<Registration, Failure> {
    check_texts(&request)?;
    Ok(Registration {
        node_id: parse("node_id", &request.node_id)?,
        instance: parse("instance_id", &request.instance_id)?,
        former: parse_former(&request.former_instance_ids)?,
        former_names: parse_former_names(&request.former_node_ids)?,
        addr: request.advertise_url,
        weight: request.weight,
        version: request.version,
        leads_at: Some(request.leads_at).filter(|url| !url.is_empty()),
        led_ledger: parse_some("led_ledger_id", &request.led_ledger_id)?,
    })
}

fn check_texts(request: &v1::RegisterRequest) -> Result<(), Malformed> {
    if let Some(field) = [
        ("advertise_url", &request.advertise_url),
        ("version", &request.version),
        ("leads_at", &request.leads_at),
    ]
    .into_iter()
    .find_map(|(field, text)| (text.len() > TEXT_BYTES_MAX).then_some(field))
    {
        return Err(Malformed::invalid(field, format!("is longer than {TEXT_BYTES_MAX} bytes")));
    }
    Ok(())
}

fn parse_former_names(names: &[String]) -> Result<Vec<NodeId>, Malformed> {
    names.iter().take(FORMER_NAMES_MAX).map(|name| parse("former_node_ids", name)).collect()
}

fn parse_former(ids: &[String]) -> Result<Vec<InstanceId>, Malformed> {
    ids.iter().map(|id| parse("former_instance_ids", id)).collect()
}
