//! What a follower owes and has paid, and what retention may remove, on both databases.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use sproxy::domain::clock::Timestamp;
use sproxy::domain::fence::{BatchesHeld, Fence, KnownSession};
use sproxy::domain::ids::{RequestId, SessionId};
use sproxy::domain::peer::Peer;
use sproxy::domain::summary::StatsBy;
use sproxy::domain::usage::{UsageFilter, UsageRecord};
use sproxy::store::{Error, PeerRepo, UsageRepo};

use crate::harness::databases::{TestDatabase, on_both};
use crate::harness::records::{at, node, record, sum};

fn series(count: u64) -> Vec<UsageRecord> {
    let start = at("2026-11-22T10:00:00Z");
    (0..count).map(|n| record(start.plus(Duration::from_secs(n / 3)))).collect()
}

fn ids(records: &[UsageRecord]) -> Vec<RequestId> {
    records.iter().map(|record| record.request_id).collect()
}

on_both! {
    async fn what_is_owed_is_listed_oldest_first_until_it_is_marked(db: TestDatabase) {
        let usage = UsageRepo::on(&db.store);
        let records = series(30);
        usage.insert_batch(&records[15..], false).await.expect("inserted");
        usage.insert_batch(&records[..15], false).await.expect("inserted");
        assert_eq!(usage.unsynced_count().await.expect("a count"), 30);
        assert_eq!(usage.oldest_unsynced().await.expect("a time"), Some(records[0].created_at));
        let first = usage.list_unsynced(10).await.expect("a list");
        assert_eq!(first.len(), 10);
        assert!(first.is_sorted_by_key(|record| (record.created_at, record.request_id)));
        let last = first.last().map(|record| (record.created_at, record.request_id));
        let second = usage.list_unsynced_after(last, 100).await.expect("a list");
        let both: HashSet<_> = ids(&first).into_iter().chain(ids(&second)).collect();
        assert_eq!((second.len(), both.len()), (20, 30), "the second list goes on where the first ended");
        usage.mark_synced(&ids(&second), None).await.expect("marked");
        usage.mark_synced(&ids(&second), None).await.expect("marking again is harmless");
        usage.mark_synced(&[RequestId::new()], None).await.expect("an unknown id is ignored");
        usage.mark_synced(&[], None).await.expect("nothing is nothing");
        assert_eq!(usage.list_unsynced(100).await.expect("a list"), first);
        usage.mark_synced(&ids(&first), None).await.expect("marked");
        assert_eq!(usage.oldest_unsynced().await.expect("a time"), None);
        let page = usage.query(&UsageFilter::default(), 100, None).await.expect("a page");
        assert!(page.items.iter().all(|log| log.synced));
    }

    async fn a_refused_record_is_kept_and_no_longer_offered(db: TestDatabase) {
        let usage = UsageRepo::on(&db.store);
        let records = series(5);
        usage.insert_batch(&records, false).await.expect("inserted");
        let refused = [(records[0].request_id, "a reason \0 with a NUL".to_owned())];
        usage.set_aside(&refused).await.expect("set aside");
        assert_eq!(ids(&usage.list_unsynced(10).await.expect("a list")).len(), 4);
        assert_eq!(usage.oldest_unsynced().await.expect("a time"), Some(records[1].created_at));
        let counts = (usage.unsynced_count().await.expect("a count"), usage.set_aside_count().await.expect("a count"));
        assert_eq!(counts, (4, 1));
        assert!(!usage.get(records[0].request_id).await.expect("read").expect("kept").synced);
    }

    async fn what_was_refused_is_offered_again_or_kept_as_ones_own(db: TestDatabase) {
        let usage = UsageRepo::on(&db.store);
        let records = series(30);
        usage.insert_batch(&records, false).await.expect("inserted");
        assert_eq!(usage.newest_time().await.expect("a time"), Some(records[29].created_at));
        usage.mark_synced(&ids(&records[20..]), Some(3)).await.expect("marked");
        let refused: Vec<_> = records[4..6].iter().map(|record| (record.request_id, "no".to_owned())).collect();
        usage.set_aside(&refused).await.expect("set aside");
        assert_eq!(usage.oldest_set_aside().await.expect("a time"), Some(records[4].created_at));
        assert_eq!(usage.retry_set_aside().await.expect("offered"), 2);
        assert_eq!(usage.unsynced_count().await.expect("a count"), 20);
        assert_eq!(usage.oldest_set_aside().await.expect("a time"), None);
        usage.set_aside(&refused).await.expect("set aside again");
        let sums = usage.global_sum_tokens(at("2026-11-22"), at("2026-11-23")).await.expect("sums");
        assert_eq!(usage.mark_owed_as_own(7).await.expect("kept"), 20);
        assert_eq!(usage.mark_owed_as_own(7).await.expect("kept"), 0, "repeating changes nothing");
        let counts = (usage.unsynced_count().await.expect("a count"), usage.set_aside_count().await.expect("a count"));
        assert_eq!(counts, (0, 0));
        let after = usage.global_sum_tokens(at("2026-11-22"), at("2026-11-23")).await.expect("sums");
        assert_eq!(after, sums, "counted already");
    }

    async fn what_was_refused_and_is_given_up_stays_and_is_neither_owed_nor_counted(db: TestDatabase) {
        let usage = UsageRepo::on(&db.store);
        let mut records = series(30);
        records[4].model = "a model that nobody else asked for".into();
        usage.insert_batch(&records, false).await.expect("inserted");
        usage.mark_synced(&ids(&records[20..]), Some(3)).await.expect("marked");
        let refused: Vec<_> = records[4..9].iter().map(|record| (record.request_id, "no".to_owned())).collect();
        usage.set_aside(&refused).await.expect("set aside");
        assert_eq!(usage.list_set_aside(None, 2).await.expect("a list"), records[4..6]);
        let place = Some((records[5].created_at, records[5].request_id));
        assert_eq!(usage.list_set_aside(place, 10).await.expect("a list"), records[6..9]);
        let now = at("2026-11-23");
        assert_eq!(usage.dismiss_set_aside(now, 2).await.expect("given up"), records[4..6], "bounded");
        assert_eq!(usage.set_aside_count().await.expect("a count"), 3);
        assert_eq!(usage.oldest_set_aside().await.expect("a time"), Some(records[6].created_at));
        assert_eq!(usage.dismiss_set_aside(now, 10).await.expect("given up"), records[6..9]);
        assert_eq!(usage.dismiss_set_aside(now, 10).await.expect("given up"), [], "repeating changes nothing");
        assert_eq!(usage.retry_set_aside().await.expect("offered"), 0);
        let counts = (usage.unsynced_count().await.expect("a count"), usage.set_aside_count().await.expect("a count"));
        assert_eq!(counts, (15, 0));
        assert_eq!(usage.mark_all_unsynced(None, 7).await.expect("marked"), 10);
        let owed: HashSet<_> = ids(&usage.list_unsynced(100).await.expect("a list")).into_iter().collect();
        let left = || records[..4].iter().chain(&records[9..]);
        assert_eq!(owed, left().map(|record| record.request_id).collect());
        let rows = usage.query(&UsageFilter::default(), 100, None).await.expect("a page").items;
        let given_up = rows.iter().filter(|log| log.dismissed && !log.synced).count();
        assert_eq!((rows.len(), given_up), (30, 5));

        // As if they had never been: over whole hours, and at the edges of a window.
        for (from, to) in [("2026-11-22", "2026-11-23"), ("2026-11-22T10:00:01Z", "2026-11-22T10:00:05Z")] {
            let (from, to) = (at(from), at(to));
            let expected = sum(left().filter(|record| (from..to).contains(&record.created_at)));
            assert_eq!(usage.global_sum_tokens(from, to).await.expect("sums"), expected);
            assert_eq!(usage.user_stats(from, to, 10).await.expect("sums")[0].totals, expected);
            let models = usage.stats_by(StatsBy::Model, from, to, 10).await.expect("sums");
            assert_eq!(models.len(), 1, "{models:?}");
        }
        let only = UsageFilter { model: Some(records[4].model.to_string()), ..UsageFilter::default() };
        assert_eq!(usage.query(&only, 100, None).await.expect("a page").items.len(), 1, "it is found all the same");
        assert_eq!(usage.mark_owed_as_own(7).await.expect("kept"), 25);
        assert_eq!(usage.delete_synced_before(now, Some(&node("sp-1")), 100).await.expect("removed"), 30, "in the end they go");
    }

    async fn everything_is_owed_again_when_the_leader_lost_its_ledger(db: TestDatabase) {
        let usage = UsageRepo::on(&db.store);
        let records = series(103);
        usage.insert_batch(&records, false).await.expect("inserted");
        usage.mark_synced(&ids(&records[..100]), None).await.expect("marked");
        usage.set_aside(&[(records[101].request_id, "no".to_owned())]).await.expect("set aside");
        assert_eq!(usage.mark_all_unsynced(None, 10).await.expect("marked"), 101);
        assert_eq!(usage.unsynced_count().await.expect("a count"), 103);
        assert_eq!(usage.set_aside_count().await.expect("a count"), 0);
        assert_eq!(usage.mark_all_unsynced(None, 10).await.expect("marked"), 0, "repeating changes nothing");
    }

    async fn what_was_acknowledged_in_later_batches_is_owed_again_and_nothing_else(db: TestDatabase) {
        let usage = UsageRepo::on(&db.store);
        let records = series(60);
        usage.insert_batch(&records, false).await.expect("inserted");
        assert_eq!(usage.last_batch().await.expect("a number"), 0);
        // Answers come in any order, and a leader of an older version counts nothing.
        for (part, batch) in [(0..10, None), (10..20, Some(7)), (20..30, Some(9)), (30..40, Some(8)), (40..50, Some(10))] {
            usage.mark_synced(&ids(&records[part]), batch).await.expect("marked");
        }
        usage.set_aside(&[(records[55].request_id, "no".to_owned())]).await.expect("set aside");
        assert_eq!(usage.last_batch().await.expect("a number"), 10);
        usage.mark_synced(&ids(&records[10..20]), Some(11)).await.expect("marked");
        assert_eq!(usage.last_batch().await.expect("a number"), 11, "too high costs a look, too low a record");
        assert_eq!(usage.mark_unsynced_after(8, 7).await.expect("marked"), 20);
        assert_eq!(usage.last_batch().await.expect("a number"), 8);
        let owed: HashSet<_> = ids(&usage.list_unsynced(100).await.expect("a list")).into_iter().collect();
        let expected = (20..30).chain(40..55).chain(56..60).map(|n| records[n].request_id).collect();
        assert_eq!(owed, expected);
        assert_eq!(usage.set_aside_count().await.expect("a count"), 1);
        assert_eq!(usage.mark_unsynced_after(8, 7).await.expect("marked"), 0, "repeating changes nothing");
        assert_eq!(usage.mark_all_unsynced(None, 10).await.expect("marked"), 31);
        assert_eq!(usage.last_batch().await.expect("a number"), 0, "another ledger counts anew");
    }

    async fn a_leader_counts_the_batches_of_each_node(db: TestDatabase) {
        let usage = UsageRepo::on(&db.store);
        let records = series(4);
        let (two, three) = (node("sp-2"), node("sp-3"));
        let take = async |node, part: &[UsageRecord]| usage.insert_pushed_batch(&Arc::new(part.to_vec()), node, &Fence::default()).await.expect("taken");
        assert_eq!(usage.batches_taken(&two).await.expect("a count"), 0);
        assert_eq!(take(&two, &records[..2]).await.number, Some(1));
        assert_eq!(take(&three, &records[2..3]).await.number, Some(1));
        let again = take(&two, &records[..2]).await;
        assert_eq!((again.added(), again.number), (0, Some(2)), "it has them, up to here");
        assert_eq!(take(&two, &[]).await.number, None);
        assert_eq!(usage.insert_batch(&records[3..], true).await.expect("inserted").number, None);
        assert_eq!(usage.batches_taken(&two).await.expect("a count"), 2);
        assert_eq!(usage.batches_taken(&three).await.expect("a count"), 1);
    }

    async fn a_database_that_holds_fewer_batches_than_were_acknowledged_takes_no_more(db: TestDatabase) {
        let usage = UsageRepo::on(&db.store);
        let (records, two) = (series(4), node("sp-2"));
        let take = async |n: usize, told: u64, given: u64| {
            let fence = Fence::new(told, None, Arc::new(AtomicU64::new(given)));
            let part = Arc::new(records[n..=n].to_vec());
            match usage.insert_pushed_batch(&part, &two, &fence).await {
                Ok(inserted) => Ok(inserted.number.expect("a number")),
                Err(Error::Behind { held }) => Err(held),
                Err(error) => panic!("{error}"),
            }
        };
        assert_eq!(take(0, 1, 0).await, Err(0), "it has never heard of the node");
        assert_eq!(take(0, 0, 0).await, Ok(1));
        assert_eq!(take(1, 1, 0).await, Ok(2));
        assert_eq!(take(2, 3, 0).await, Err(2), "the node knows more");
        assert_eq!(take(2, 0, 3).await, Err(2), "the process knows more");
        assert_eq!(take(2, 1, 2).await, Ok(3), "another one was on its way");
        let all = usage.query(&UsageFilter::default(), 100, None).await.expect("a page").items;
        assert_eq!(all.len(), 3, "nothing of what was refused");
        assert_eq!(usage.batches_taken(&two).await.expect("a count"), 3);
    }

    /// Another leader has taken it over meanwhile, or the database has fallen back to before it did.
    async fn batches_are_taken_of_a_nodes_last_registration_alone(db: TestDatabase) {
        let usage = UsageRepo::on(&db.store);
        let (records, two) = (series(6), node("sp-2"));
        let ids: Vec<SessionId> = (0..4).map(|_| SessionId::new()).collect();
        let take = async |n: usize, told: u64, session: Option<SessionId>| {
            let fence = Fence::new(told, session, Arc::default());
            let part = Arc::new(records[n..=n].to_vec());
            match usage.insert_pushed_batch(&part, &two, &fence).await {
                Ok(inserted) => Some(inserted.number.expect("a number")),
                Err(Error::SessionOver) => None,
                Err(error) => panic!("{error}"),
            }
        };
        let known = |of: &[(usize, u64)]| -> Vec<KnownSession> {
            of.iter().map(|(at, after)| KnownSession { id: ids[*at], after: *after }).collect()
        };
        let begin = async |at: usize, of: &[(usize, u64)]| {
            usage.begin_session(&two, ids[at], &known(of)).await.expect("begun")
        };
        assert_eq!(take(0, 0, Some(ids[0])).await, None, "it has never heard of the node");
        assert_eq!(begin(0, &[]).await, 0);
        assert_eq!(take(0, 0, Some(ids[0])).await, Some(1));
        assert_eq!(begin(1, &[(0, 0)]).await, 1, "everything is there");
        assert_eq!(take(1, 0, Some(ids[0])).await, None, "on its way at another leader");
        assert_eq!(take(1, 1, Some(ids[1])).await, Some(2));
        assert_eq!(take(2, 2, None).await, Some(3), "an older sproxy names none");
        let held = usage.batches_held(&two).await.expect("a count");
        assert_eq!(held, BatchesHeld { taken: 3, session: Some(ids[1]) });
        assert_eq!(usage.all_batches_held().await.expect("counts"), [(two.clone(), held)]);
        // The node was acknowledged two batches, and two more in a registration that this database does not have.
        let remembered = [(0, 0), (1, 1), (2, 2)];
        assert_eq!(begin(3, &remembered).await, 2, "the third is not the one that was acknowledged");
        assert_eq!(begin(3, &remembered).await, 2, "the answer may have been lost");
        assert_eq!(take(3, 2, Some(ids[3])).await, Some(4), "and no number is given twice");
        assert_eq!(begin(0, &[(0, 0), (1, 1), (2, 2), (3, 2)]).await, 4, "it has pushed since");
        let all = usage.query(&UsageFilter::default(), 100, None).await.expect("a page").items;
        assert_eq!(all.len(), 4, "nothing of what was refused");
    }

    async fn retention_removes_old_synced_logs_and_keeps_the_sums(db: TestDatabase) {
        let usage = UsageRepo::on(&db.store);
        let cutoff = at("2026-11-22T10:00:10Z");
        let records = series(60); // 30 of them before the cutoff
        usage.insert_batch(&records, false).await.expect("inserted");
        usage.mark_synced(&ids(&records[5..]), None).await.expect("marked");
        usage.set_aside(&[(records[0].request_id, "no".to_owned())]).await.expect("set aside");
        let (from, to) = (at("2026-11-22"), at("2026-11-23"));
        let before = usage.global_sum_tokens(from, to).await.expect("sums");
        assert_eq!(usage.delete_synced_before(cutoff, Some(&node("sp-1")), 20).await.expect("removed"), 20, "bounded");
        assert_eq!(usage.delete_synced_before(cutoff, Some(&node("sp-1")), 20).await.expect("removed"), 5);
        assert_eq!(usage.delete_synced_before(cutoff, Some(&node("sp-1")), 20).await.expect("removed"), 0);
        let left = usage.query(&UsageFilter::default(), 100, None).await.expect("a page").items;
        let left: HashSet<_> = left.iter().map(|log| log.record.request_id).collect();
        let expected = records.iter().enumerate().filter(|(n, record)| *n < 5 || record.created_at >= cutoff);
        assert_eq!(left, expected.map(|(_, record)| record.request_id).collect());
        assert_eq!(usage.global_sum_tokens(from, to).await.expect("sums"), before);
    }

    async fn the_leader_keeps_a_log_as_long_as_its_node_may_push_it_again(db: TestDatabase) {
        let usage = UsageRepo::on(&db.store);
        let peers = PeerRepo::on(&db.store);
        let mut theirs = record(at("2026-11-01T10:00:00Z"));
        theirs.source_node = node("sp-2");
        usage.insert_batch(std::slice::from_ref(&theirs), true).await.expect("inserted");
        let leader = node("sp-1");
        let sweep = || usage.delete_synced_before(at("2026-11-22"), Some(&leader), 10);
        for (synced_through, removed) in
            [(None, 0), (Some("2026-11-01T09:59:59Z"), 0), (Some("2026-11-01T10:00:00Z"), 1)]
        {
            peers.upsert(&peer("sp-2", synced_through.map(at))).await.expect("noted");
            assert_eq!(sweep().await.expect("swept"), removed, "{synced_through:?}");
        }
        // a node that nobody knows any more cannot push
        theirs.request_id = RequestId::new();
        usage.insert_batch(std::slice::from_ref(&theirs), true).await.expect("inserted");
        peers.upsert(&peer("sp-2", None)).await.expect("noted");
        assert_eq!(sweep().await.expect("swept"), 0);
        assert!(peers.delete(&node("sp-2")).await.expect("forgotten"));
        assert_eq!(sweep().await.expect("swept"), 1);
    }

    async fn a_peer_is_written_down_and_overwritten_but_registers_once(db: TestDatabase) {
        let peers = PeerRepo::on(&db.store);
        let first = peer("sp-2", None);
        peers.upsert(&first).await.expect("noted");
        let later = Peer {
            registered_at: at("2026-12-01"),
            weight: 7,
            is_active: false,
            unsynced: 12,
            leads_at: None,
            instance_id: Some(sproxy::domain::ids::InstanceId::new()),
            ..peer("sp-2", Some(at("2026-12-02")))
        };
        peers.upsert(&later).await.expect("noted");
        peers.upsert(&peer("sp-1", None)).await.expect("noted");
        let expected = Peer { registered_at: first.registered_at, ..later };
        assert_eq!(peers.get(&node("sp-2")).await.expect("read"), Some(expected.clone()));
        assert_eq!(peers.list().await.expect("a list"), [peer("sp-1", None), expected]);
        assert!(!peers.delete(&node("sp-9")).await.expect("nothing to forget"));
    }
}

fn peer(id: &str, synced_through: Option<Timestamp>) -> Peer {
    Peer {
        id: node(id),
        addr: "http://10.0.0.2:9000".to_owned(),
        weight: 50,
        is_active: true,
        draining: false,
        registered_at: at("2026-10-01"),
        last_seen: None,
        unsynced: 0,
        synced_through,
        version: "0.1.0".to_owned(),
        leads_at: None,
        instance_id: None,
    }
}
