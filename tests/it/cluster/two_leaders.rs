//! Two leaders on one database, whose clocks differ by an hour: neither undoes what the other has done.

use std::sync::Arc;
use std::time::Duration;

use sproxy::accounts::{Accounts, Settings};
use sproxy::cluster::LeaderDatabase;
use sproxy::cluster::leader::Leader;
use sproxy::domain::clock::{ManualClock, Timestamp};
use sproxy::domain::failure::{Failure, Kind};
use sproxy::domain::fence::BatchesHeld;
use sproxy::domain::ids::{InstanceId, SessionId};
use sproxy::domain::peer::{Peer, PeerStatus};
use sproxy::store::{Location, PeerRepo, Store};
use sproxy::wire::v1;
use tokio::task::spawn_blocking;

use super::leader_setup;
use crate::harness::auth::auth;
use crate::harness::databases::{TestDatabase, on_both};
use crate::harness::postgres::Postgres;
use crate::harness::records::{at, node};
use crate::harness::{Mock, until};

const HEARTBEAT: Duration = Duration::from_secs(5);

struct Process {
    leader: Leader<LeaderDatabase>,
    clock: Arc<ManualClock>,
}

impl Process {
    async fn start(id: &str, store: &Store, now: &str) -> Self {
        let clock = Arc::new(ManualClock::new(at(now)));
        let settings = Settings::new(&auth(), true);
        let accounts = Accounts::open(store.clone(), settings, clock.clone()).await.expect("accounts");
        let books = LeaderDatabase::new(store.clone(), accounts);
        let peers = PeerRepo::on(store).list().await.expect("a list");
        let opened = Leader::open(node(id), InstanceId::new(), HEARTBEAT, books, peers, clock.clone());
        Self { leader: opened.await.expect("opens"), clock }
    }

    async fn register(&self, id: &str, run: InstanceId, former: &[InstanceId]) -> Result<(), Failure> {
        let request = v1::RegisterRequest {
            node_id: id.to_owned(),
            instance_id: run.to_string(),
            former_instance_ids: former.iter().map(ToString::to_string).collect(),
            advertise_url: format!("http://{id}"),
            ..v1::RegisterRequest::default()
        };
        self.leader.register(request).await.map(drop)
    }

    /// Whether an admin wants it drained.
    async fn heartbeat(&self, id: &str, run: InstanceId, unsynced: u64) -> Result<bool, Failure> {
        let request = v1::HeartbeatRequest {
            node_id: id.to_owned(),
            instance_id: run.to_string(),
            ledger_id: self.leader.ledger().to_string(),
            unsynced,
            ..v1::HeartbeatRequest::default()
        };
        Ok(self.leader.heartbeat(&request).await?.draining)
    }

    async fn leave(&self, id: &str, run: InstanceId) {
        let request = v1::LeaveRequest {
            node_id: id.to_owned(),
            instance_id: run.to_string(),
            unsynced: Some(0),
            ledger_id: self.leader.ledger().to_string(),
            ..v1::LeaveRequest::default()
        };
        self.leader.leave(&request).await.expect("left");
    }

    async fn sweep(&self) {
        self.leader.sweep().await.expect("swept");
    }

    fn is_active(&self, id: &str) -> Option<bool> {
        self.leader.peers().iter().find(|peer| peer.id == node(id)).map(|peer| peer.is_active)
    }
}

/// One and the other, and how the database is looked at.
async fn two(db: &TestDatabase) -> (Process, Process, Store) {
    let other = db.second_store().await;
    let one = Process::start("sp-1", &db.store, "2026-11-22T12:00:00Z").await;
    let two = Process::start("sp-9", &other, "2026-11-22T11:00:00Z").await;
    (one, two, db.second_store().await)
}

async fn row(store: &Store, id: &str) -> Option<Peer> {
    PeerRepo::on(store).get(&node(id)).await.expect("read")
}

fn kind<T>(answer: Result<T, Failure>) -> Option<Kind> {
    answer.err().map(|failure| failure.kind)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_writes_itself_down_for_others_and_an_admins_word_in_its_row_stays() {
    let Some(server) = spawn_blocking(Postgres::shared).await.expect("a server") else { return };
    let (mock, url) = (Mock::start().await, server.new_database());
    let one = leader_setup(&mock).section("store", &format!("url = \"{url}\"")).start().await;
    let store = Store::open(&Location::Postgres { url: url.clone() }).await.expect("a database");
    let later = async |than: Option<Timestamp>| {
        until("the leader has written itself down", async || {
            row(&store, "sp-1").await.filter(|own| own.last_seen > than && own.synced_through.is_some())
        })
        .await
    };
    let first = later(None).await;
    assert!(!later(first.last_seen).await.draining);
    let database = url.rsplit('/').next().expect("a name");
    server.execute(database, "UPDATE peers SET draining = TRUE WHERE id = 'sp-1'");
    until("it goes by what another has written", async || {
        let answer = one.http.get(one.url("/readyz")).send().await.expect("an answer");
        (answer.status() == 503).then_some(())
    })
    .await;
    let drained = row(&store, "sp-1").await.expect("there");
    let kept = later(drained.last_seen).await;
    assert!(kept.draining && kept.is_active);
    assert_eq!(kept.registered_at, first.registered_at);
}

on_both! {
    async fn what_one_leader_writes_of_a_peer_the_other_goes_by(db: TestDatabase) {
        let (one, two, store) = two(&db).await;
        let run = InstanceId::new();
        one.register("sp-2", run, &[]).await.expect("free");
        assert_eq!(two.is_active("sp-2"), None, "it has not looked yet");
        assert_eq!(kind(two.register("sp-2", InstanceId::new(), &[]).await), Some(Kind::Conflict), "taken");
        assert_eq!(kind(two.leader.forget(&node("sp-2")).await), Some(Kind::Conflict), "it lives");
        assert!(two.leader.drain(&node("sp-2"), true).await.expect("known").draining);
        one.heartbeat("sp-2", run, 7).await.expect("known");
        one.sweep().await;
        let kept = row(&store, "sp-2").await.expect("there");
        assert!(kept.draining, "a heartbeat undoes no drain");
        assert_eq!(kept.unsynced, 7);
        assert!(one.heartbeat("sp-2", run, 0).await.expect("known"), "it is told");
        two.heartbeat("sp-2", run, 3).await.expect("whichever it asks");
        two.leave("sp-2", run).await;
        one.sweep().await;
        assert_eq!(one.is_active("sp-2"), Some(false), "a sign of life that is older than its leave");
        assert_eq!(kind(one.heartbeat("sp-2", run, 0).await), Some(Kind::NotFound));
        one.leader.forget(&node("sp-2")).await.expect("gone");
        two.sweep().await;
        assert_eq!((two.leader.peers(), row(&store, "sp-2").await), (Vec::new(), None));
        assert_eq!(kind(two.leader.drain(&node("sp-2"), true).await), Some(Kind::NotFound));
    }

    async fn a_sweep_takes_nobody_down_of_whom_another_leader_has_heard(db: TestDatabase) {
        let (one, two, store) = two(&db).await;
        let run = InstanceId::new();
        one.register("sp-2", run, &[]).await.expect("free");
        for _ in 0..8 {
            one.heartbeat("sp-2", run, 0).await.expect("known");
            one.sweep().await;
            two.sweep().await;
            assert_eq!((one.is_active("sp-2"), two.is_active("sp-2")), (Some(true), Some(true)));
            one.clock.advance(HEARTBEAT);
            two.clock.advance(HEARTBEAT);
        }
        // Heard of after the other has made up its mind, before it writes.
        let as_read = [row(&store, "sp-2").await.expect("there")];
        one.heartbeat("sp-2", run, 0).await.expect("known");
        one.sweep().await;
        PeerRepo::on(&store).mark_inactive(&as_read).await.expect("written");
        assert!(row(&store, "sp-2").await.expect("there").is_active);
        // Nobody hears of it any more.
        two.sweep().await;
        for process in [&one, &two] {
            process.clock.advance(Duration::from_secs(16));
        }
        two.sweep().await;
        assert!(!row(&store, "sp-2").await.expect("there").is_active);
        assert_eq!(one.is_active("sp-2"), Some(true), "it has not looked yet");
        one.heartbeat("sp-2", run, 0).await.expect("no need to register");
        one.sweep().await;
        assert_eq!(kind(two.leader.forget(&node("sp-2")).await), Some(Kind::Conflict), "it is back");
        two.sweep().await;
        assert_eq!((one.is_active("sp-2"), two.is_active("sp-2")), (Some(true), Some(true)));
    }

    async fn a_sign_of_life_of_an_earlier_run_is_not_written_over_a_later_one(db: TestDatabase) {
        let (one, two, store) = two(&db).await;
        let (first, second) = (InstanceId::new(), InstanceId::new());
        one.register("sp-2", first, &[]).await.expect("free");
        two.sweep().await;
        one.heartbeat("sp-2", first, 7).await.expect("known");
        assert_eq!(kind(two.register("sp-2", second, &[first]).await), Some(Kind::Conflict), "it may live");
        two.clock.advance(Duration::from_secs(11));
        two.register("sp-2", second, &[first]).await.expect("nothing was written of it since");
        let registered = row(&store, "sp-2").await;
        one.sweep().await;
        assert_eq!(row(&store, "sp-2").await, registered);
        assert_eq!(kind(one.heartbeat("sp-2", first, 0).await), Some(Kind::NotFound));
        one.heartbeat("sp-2", second, 1).await.expect("the later run, registered elsewhere");
        // Forgotten with a sign of life under way: that brings no row back.
        two.leave("sp-2", second).await;
        two.leader.forget(&node("sp-2")).await.expect("gone");
        one.sweep().await;
        assert_eq!((row(&store, "sp-2").await, one.leader.peers()), (None, Vec::new()));
    }

    async fn of_two_runs_that_register_one_new_name_at_once_with_two_leaders_one_has_it(db: TestDatabase) {
        let (one, two, store) = two(&db).await;
        for number in 10..30 {
            let (name, first, second) = (format!("sp-{number}"), InstanceId::new(), InstanceId::new());
            let (left, right) = tokio::join!(one.register(&name, first, &[]), two.register(&name, second, &[]));
            let holds = row(&store, &name).await.expect("there").instance_id;
            match (kind(left), kind(right)) {
                (None, Some(Kind::Conflict)) => assert_eq!(holds, Some(first)),
                (Some(Kind::Conflict), None) => assert_eq!(holds, Some(second)),
                both => panic!("{both:?}"),
            }
        }
    }

    async fn drains_and_signs_of_life_that_meet_are_both_kept(db: TestDatabase) {
        let (one, two, store) = two(&db).await;
        let run = InstanceId::new();
        one.register("sp-2", run, &[]).await.expect("free");
        let sp_2 = node("sp-2");
        for round in 0..30 {
            one.heartbeat("sp-2", run, round).await.expect("known");
            let ((), drained) = tokio::join!(one.sweep(), two.leader.drain(&sp_2, round % 2 == 0));
            drained.expect("known");
            let kept = row(&store, "sp-2").await.expect("there");
            assert_eq!((kept.draining, kept.unsynced), (round % 2 == 0, round));
        }
    }

    async fn many_signs_of_life_are_one_statement_that_changes_what_it_may(db: TestDatabase) {
        let peers = PeerRepo::on(&db.store);
        let through = |second: u32| at(&format!("2026-11-22T10:00:{second:02}Z"));
        let (mut held, mut statuses) = (Vec::new(), Vec::new());
        for number in 0..2_500_u32 {
            let run = InstanceId::new();
            let peer = Peer {
                id: node(&format!("n-{number:04}")),
                addr: "http://there".to_owned(),
                weight: 1,
                is_active: number % 2 == 0,
                draining: number % 3 == 0,
                registered_at: at("2026-11-01"),
                last_seen: None,
                unsynced: 9,
                synced_through: (number % 5 != 0).then(|| through(number % 7)),
                version: "1".to_owned(),
                leads_at: (number % 4 == 0).then(|| format!("http://there:{number}")),
                instance_id: (number % 11 != 0).then_some(run),
            };
            statuses.push(PeerStatus {
                id: peer.id.clone(),
                instance_id: if number % 13 == 0 { InstanceId::new() } else { run },
                last_seen: through(50),
                unsynced: (number % 17 != 0).then_some(4),
                synced_through: (number % 19 != 0).then(|| through(number % 6)),
                sync_point_invalid: number % 23 == 0,
                // Nobody has pushed anything here.
                last_batch: u64::from(number % 29 == 0),
                session: (number % 31 == 0).then(SessionId::new),
            });
            held.push(peer);
        }
        let tx = db.store.begin().await.expect("a transaction");
        for peer in &held {
            assert!(PeerRepo::on(&tx).insert(peer).await.expect("new"));
        }
        assert!(!PeerRepo::on(&tx).insert(&Peer { weight: 5, ..held[0].clone() }).await.expect("there"));
        tx.commit().await.expect("committed");
        peers.note_statuses(&statuses).await.expect("written");
        for (peer, status) in held.iter_mut().zip(&statuses) {
            status.held_by(BatchesHeld::default()).apply(peer);
        }
        assert!(peers.list().await.expect("a list") == held, "as the rule says");
        let stale: Vec<Peer> = held.iter().map(|peer| Peer { last_seen: None, ..peer.clone() }).collect();
        peers.mark_inactive(&stale).await.expect("written");
        for peer in held.iter_mut().filter(|peer| peer.last_seen.is_none()) {
            peer.is_active = false;
        }
        assert!(peers.list().await.expect("a list") == held, "those of which nothing was heard");
        peers.mark_inactive(&held).await.expect("written");
        assert!(peers.list().await.expect("a list").iter().all(|peer| !peer.is_active));
    }
}
