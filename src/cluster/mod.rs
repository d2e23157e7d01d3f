//! The cluster: followers push usage that the leader has not seen, the leader counts each record once, and replicates to
//! them what a node needs to work alone.
//!
//! By role: [`leader`] takes pushes, keeps the registry and answers for all; [`follower`] pushes what it owes, and applies
//! what it is told. Between them, [`replication`] is the way of users and limits down and, after a loss, up again;
//! [`usage`] is what limits need to know of other nodes. Both roles stand on small traits for their database and the
//! connection between them (`LeaderStore`, `FollowerStore`, `LeaderClient`), so that the simulation runs the same code.
//! At work, with their background tasks: [`leader::service`], [`follower::service`].
//!
//! A follower may know several leaders of one ledger ([`follower::leader_set`]). It keeps to one; a session belongs to the
//! leader that it was made with, and ends with it. What a leader did not acknowledge is pushed to the next, which tells by
//! the records' ids what the first has taken, and by the count of batches what their database has lost.
//!
//! How far nodes may be apart while all are in touch: a record is pushed 20 ms after its commit, what it used is told
//! to the other followers 25 ms after the leader's commit and to the leader's own limits within 100 ms; what the leader
//! itself served is told to the followers within 125 ms; a change of users or limits is told 25 ms after its commit.
//! Requests per minute are shared out by weight, each share rounded up: N nodes together admit at most N - 1 more.
//!
//! By how much a quota (tokens, money) can be overrun: a node admits a call while what it served itself and what it was
//! last told of the others are together below the limit. So the total passes the limit at most by what is in flight at
//! that moment on all nodes, and by what the other nodes have served since the last news of them that a node has. In
//! touch that news is as old as said above, two commits and two short messages more: about a tenth of a second of
//! traffic, a quarter on a busy machine. A node that is out of touch knows of the others what it knew then and can spend
//! what that left, no more: N nodes that never hear of each other can use N times the limit. Who wants no more than a
//! moment of that sets `cluster.max_staleness` and `cluster.refuse_when_stale`.
//!
//! Memory: at most four batches of a backlog on a follower, 32 pushes on the leader, whatever is owed; the leader holds
//! the replicated state once, to see what a change changes.
//!
//! A leader may lose what it had acknowledged. Another ledger: its disk is gone, and followers push all they hold. The
//! same ledger, only older, restored from a backup or cut short by a power failure: it counts the batches that it takes
//! of each node in the transactions that take them, a follower keeps the number with what a batch acknowledged, and when
//! they meet, which they do anew in each run of the leader, the follower pushes what has a higher number than the
//! leader holds. A living leader whose database falls back, because a standby that lagged behind took its place, is found
//! out by the fence: node and process say with each push and heartbeat how far they had come, and a database that holds
//! less takes nothing until the node has heard. Where several lead, one that was stopped meanwhile may still have a push to take
//! that knows nothing of what others acknowledged and the database lost: so batches count for one registration of a node,
//! the last that the database knows, and a node that registers names its earlier ones. What was acknowledged in those that
//! the database does not know is pushed again, whatever it counts. Nothing else is pushed again, since a record that the leader's retention
//! has removed would count again. Accounts that such a database lost are written to it once more from memory. Only what
//! is an embedded leader's own, calls that it answered itself and users, is as old as its backup.
//!
//! On PostgreSQL several nodes lead at once, and nothing is elected: what must hold, holds in the database. No statement
//! writes a value there that was read in an earlier transaction, except additions, idempotent inserts and comparisons
//! with what was read. Each of them books its own calls on its own disk and pushes them to itself like a follower
//! (`leader::Spool`), so it serves while the database is away, and a database that fell back gets them again. Each is a
//! peer to all, with the URL of its gRPC side. Accounts that one changes hold at the others within 50 ms, looked up by
//! their version; usage that one takes is told to the others as it is committed (`WatchBatches`), and what they miss of
//! that they read from the database a second or two later. Leaders of another cluster are known by its secret, and kept
//! out. In memory, and per leader: failed logins.
//!
//! On SQLite one node leads, and an operator makes a follower the leader when that is lost ([`standing`]): by a higher term and
//! a ledger that nobody has pushed to, written down before anything else. It tells the others at their HTTP sides
//! (`leader::announcer`), terms are compared when a node registers, and of two leaders the one of the lower term follows:
//! it pushes its whole books, those of others included, since the ledger that it led is one that the new one goes back to.
//!
//! A leader that has lost its disk has its users, groups and keys from its followers ([`replication::adoption`]). No follower takes over
//! a state that its own did not go into, so none of it is lost, whichever of them comes first, and whatever an admin does
//! meanwhile: what a follower knows and the leader does not is added to what it has.
//!
//! How a node uses it; a [`Task`] is a name and a future for the supervisor, nothing is spawned here:
//!
//! ```text
//! leader:    let (leader, tasks) = leader::service::start(Dependencies { .. }).await?;
//!            grpc::server(listener, tls, grpc::Services::new(&leader, ..), ..).await?.run(stop, ..).await;
//! follower:  let leaders = leaders_at(urls, secret, tls)?;
//!            restore_leaders(&leaders, &store, now).await?;
//!            let id = known id, or ask_for_id(&leaders, addr, weight, &store).await?;
//!            let (follower, tasks) = follower::service::start(id, Dependencies { .. }).await?;
//! both:      peers(), not_ready(), register_metrics(); the leader: drain, forget, complete_through; a follower: is_stale, leaving
//! ```

pub mod follower;
pub mod leader;
pub mod registration;
pub mod replication;
pub mod retry;
pub mod standing;
mod task;
pub mod usage;

pub use follower::instances::{ask_for_id, keep_name};
pub use follower::kept_leaders::restore_leaders;
pub use leader::store::LeaderDatabase;
pub use task::Task;
