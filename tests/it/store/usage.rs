//! Usage logs and their sums, on both databases: each record once, sums exact, pages that survive inserts.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use sproxy::domain::clock::Timestamp;
use sproxy::domain::ids::RequestId;
use sproxy::domain::quota::Used;
use sproxy::domain::summary::{StatsBy, Totals};
use sproxy::domain::usage::{UsageFilter, UsageRecord};
use sproxy::store::usage::{NodeFilter, UsedTotals};
use sproxy::store::{MetaKey, MetaRepo, UsageRepo};

use crate::harness::databases::{TestDatabase, on_both};
use crate::harness::records::{Dice, at, group, node, record, sum, user};

const DAY: u64 = 24 * 3_600 * 1_000_000;

/// The records of `[from, to)`.
fn within(records: &[UsageRecord], from: Timestamp, to: Timestamp) -> impl Iterator<Item = &UsageRecord> {
    records.iter().filter(move |record| (from..to).contains(&record.created_at))
}

on_both! {
    async fn a_record_comes_back_as_it_was_written(db: TestDatabase) {
        let usage = UsageRepo::on(&db.store);
        let plain = record(at("2026-11-22T10:00:00.123456Z"));
        let mut rich = record(at("2026-11-22T10:00:01Z"));
        rich.group_id = Some(group(1));
        rich.group = Some("research".into());
        rich.ttfb_ms = None;
        rich.agent_id = Some("agent \"7\" 🦀".to_owned());
        rich.session_id = None;
        usage.insert_batch(&[plain.clone(), rich.clone()], false).await.expect("inserted");
        for written in [plain, rich] {
            let read = usage.get(written.request_id).await.expect("read").expect("there");
            assert_eq!(read.record, written);
            assert!(!read.synced);
        }
        assert_eq!(usage.get(RequestId::new()).await.expect("read"), None);
    }

    async fn a_request_is_counted_once_however_often_it_is_inserted(db: TestDatabase) {
        let usage = UsageRepo::on(&db.store);
        let now = at("2026-11-22T10:00:00Z");
        let old: Vec<_> = (0..70).map(|_| record(now)).collect();
        usage.insert_batch(&old, true).await.expect("inserted");
        // old and new ones mixed, one new one twice in the batch, an old one with other numbers
        let mut mixed: Vec<_> = (0..90).map(|_| record(now)).collect();
        let new = mixed.clone();
        mixed.push(mixed[7].clone());
        for (place, known) in [(3, &old[0]), (40, &old[69]), (41, &old[5]), (80, &old[0])] {
            mixed.insert(place, known.clone());
        }
        let mut forged = old[9].clone();
        forged.tokens.input = 1_000_000;
        mixed.push(forged);
        let inserted = usage.insert_batch(&mixed, true).await.expect("inserted");
        assert_eq!((inserted.added(), inserted.duplicates()), (90, 6));
        let taken: HashSet<_> = inserted.new_of(&mixed).map(|record| record.request_id).collect();
        assert_eq!(taken, new.iter().map(|record| record.request_id).collect());
        let again = usage.insert_batch(&mixed, true).await.expect("inserted");
        assert_eq!((again.added(), again.duplicates()), (0, mixed.len()));
        let totals = usage.global_sum_tokens(at("2026-11-22"), at("2026-11-23")).await.expect("sums");
        assert_eq!(totals, sum(old.iter().chain(&new)), "the first row holds");
        assert_eq!(usage.insert_batch(&[], true).await.expect("nothing").added(), 0);
    }

    async fn sums_of_any_window_equal_the_sum_of_its_logs(db: TestDatabase) {
        let usage = UsageRepo::on(&db.store);
        let mut dice = Dice(42);
        // across a leap day, the ends of two months and a new year
        let mut records: Vec<_> = (0..900).map(|_| dice.record(at("2028-02-27"), 4 * DAY)).collect();
        records.extend((0..600).map(|_| dice.record(at("2026-12-30"), 4 * DAY)));
        let edges = ["2028-02-28T23:59:59.999999Z", "2028-02-29", "2028-03-01", "2027-01-01", "2026-12-31T23:59:59.999999Z"];
        records.extend(edges.iter().map(|edge| record(at(edge))));
        for batch in records.chunks(173) {
            usage.insert_batch(batch, true).await.expect("inserted");
        }
        let windows = [
            ("2026-01-01", "2029-01-01"),
            ("2028-02-29", "2028-03-01"),
            ("2028-02-28T23:59:59.999999Z", "2028-02-29T00:00:00.000001Z"),
            ("2027-01-01", "2027-02-01"),
            ("2026-12-31T10:17:03Z", "2027-01-01T15:59:59.999999Z"),
            ("2026-12-31T10:17:03Z", "2026-12-31T10:53:00Z"),
            ("2026-12-31T10:00:00Z", "2026-12-31T10:00:00Z"),
            ("2027-01-02", "2026-12-31"),
        ];
        for (from, to) in windows.map(|(from, to)| (at(from), at(to))) {
            let expected = sum(within(&records, from, to));
            assert_eq!(usage.global_sum_tokens(from, to).await.expect("sums"), expected, "{from} to {to}");
            assert_eq!(usage.sum_cost_usd(from, to).await.expect("cost"), expected.cost_nanousd);
            let theirs = sum(within(&records, from, to).filter(|record| record.user_id == user(3)));
            assert_eq!(usage.sum_tokens(user(3), from, to).await.expect("sums"), theirs, "{from} to {to}");
            for by in [StatsBy::User, StatsBy::Group, StatsBy::Model, StatsBy::Node, StatsBy::Day] {
                let rows = usage.stats_by(by, from, to, 100).await.expect("statistics");
                let got: BTreeMap<_, _> = rows.iter().map(|row| (row.key.clone(), row.totals)).collect();
                assert_eq!(got.len(), rows.len(), "no key twice");
                assert_eq!(got, grouped(&records, by, from, to), "{by:?} {from} to {to}");
            }
        }
    }

    async fn statistics_come_most_first_with_current_names_and_no_more_than_asked_for(db: TestDatabase) {
        let usage = UsageRepo::on(&db.store);
        let (from, to) = (at("2026-11-22"), at("2026-11-23"));
        let records: Vec<_> = (1..=5).flat_map(|number| {
            (0..number).map(move |_| {
                let mut record = record(at("2026-11-22T10:00:00Z"));
                record.user_id = user(number);
                record.user = format!("user-{number}").into();
                record
            })
        }).collect();
        usage.insert_batch(&records, true).await.expect("inserted");
        let top = usage.user_stats(from, to, 2).await.expect("statistics");
        assert_eq!(top.iter().map(|row| &*row.name).collect::<Vec<_>>(), ["user-5", "user-4"]);
        assert_eq!(top[0].key, user(5).to_string());
        assert_eq!(top[0].totals.total_tokens, 550);
        let days = usage.stats_by(StatsBy::Day, from, to, 5).await.expect("statistics");
        assert_eq!(days.iter().map(|row| &*row.name).collect::<Vec<_>>(), ["2026-11-22"]);
        let groups = usage.stats_by(StatsBy::Group, from, to, 5).await.expect("statistics");
        assert_eq!((&*groups[0].key, &*groups[0].name), ("", ""), "no group is a row of its own");
    }

    async fn a_filter_takes_globs_of_models(db: TestDatabase) {
        let usage = UsageRepo::on(&db.store);
        let models = ["claude-sonnet-4-5", "claude-opus-4", "Claude-x", "gpt-4o", "a_b", "axb", "50%", "[a]", "a\\b"];
        let records: Vec<_> = models.iter().map(|model| {
            let mut record = record(at("2026-11-22T10:00:00Z"));
            record.model = (*model).into();
            record
        }).collect();
        usage.insert_batch(&records, true).await.expect("inserted");
        for (glob, found) in [
            ("claude-*", &["claude-opus-4", "claude-sonnet-4-5"][..]),
            ("*4*", &["claude-opus-4", "claude-sonnet-4-5", "gpt-4o"]),
            ("a?b", &["a\\b", "a_b", "axb"]),
            ("a_*", &["a_b"]),
            ("*%", &["50%"]),
            ("[a*", &["[a]"]),
            ("a\\*", &["a\\b"]),
            ("gpt-4o", &["gpt-4o"]),
            ("gpt", &[]),
        ] {
            let filter = UsageFilter { model: Some(glob.to_owned()), ..UsageFilter::default() };
            let page = usage.query(&filter, 100, None).await.expect("a page");
            let mut names: Vec<_> = page.items.iter().map(|log| log.record.model.to_string()).collect();
            names.sort();
            assert_eq!(names, found, "{glob}");
        }
    }

    async fn pages_of_statistics_are_the_list_cut_into_pieces(db: TestDatabase) {
        let usage = UsageRepo::on(&db.store);
        let mut dice = Dice(7);
        let records: Vec<_> = (0..400).map(|_| dice.record(at("2026-11-20"), 4 * DAY)).collect();
        usage.insert_batch(&records, true).await.expect("inserted");
        let (from, to) = (at("2026-11-20T00:30:00Z"), at("2026-11-23T23:10:00Z"));
        for by in [StatsBy::User, StatsBy::Group, StatsBy::Model, StatsBy::Node, StatsBy::Day] {
            for now in [from, at("2026-11-22T10:20:30Z"), at("2026-12-01")] {
                let until = if by == StatsBy::Day || now == from { to } else { now.min(to) };
                let whole = usage.stats_by(by, from, until, 1_000).await.expect("statistics");
                let (mut rows, mut after) = (Vec::new(), None);
                loop {
                    // Only a list that goes on is cut at the time of its first page.
                    let page = usage.stats_page(by, None, (from, to), 2, after.as_ref(), now).await.expect("a page");
                    rows.extend(page.items);
                    after = page.next;
                    if after.is_none() {
                        break;
                    }
                }
                assert_eq!(rows, whole, "{by:?}");
            }
        }
    }

    async fn pages_show_every_log_once_while_others_arrive(db: TestDatabase) {
        let usage = UsageRepo::on(&db.store);
        let start = at("2026-11-22T10:00:00Z");
        // many share a moment, so that the id has to decide
        let records: Vec<_> = (0..100).map(|n| record(start.plus(Duration::from_secs(n / 10)))).collect();
        usage.insert_batch(&records, true).await.expect("inserted");
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page = usage.query(&UsageFilter::default(), 7, cursor).await.expect("a page");
            seen.extend(page.items.iter().map(|log| (log.record.created_at, log.record.request_id)));
            // newer ones and older ones come in between
            let newer = record(start.plus(Duration::from_hours(1)));
            usage.insert_batch(&[newer], true).await.expect("inserted");
            match page.next {
                Some(next) => cursor = Some(next.to_string().parse().expect("a cursor reads back")),
                None => break,
            }
        }
        assert!(seen.windows(2).all(|pair| pair[0] > pair[1]), "newest first, none twice");
        let seen: HashSet<_> = seen.into_iter().map(|(_, id)| id).collect();
        assert!(records.iter().all(|record| seen.contains(&record.request_id)), "none left out");
        assert_eq!(seen.len(), 100, "none that came after its page");
    }

    async fn a_filter_shows_what_it_names_and_nothing_else(db: TestDatabase) {
        let usage = UsageRepo::on(&db.store);
        let mut dice = Dice(7);
        let records: Vec<_> = (0..400).map(|_| dice.record(at("2026-11-20"), 3 * DAY)).collect();
        usage.insert_batch(&records, true).await.expect("inserted");
        let (from, to) = (Some(at("2026-11-21T06:00:00Z")), Some(at("2026-11-22")));
        let all = UsageFilter::default();
        for filter in [
            UsageFilter { user_id: Some(user(2)), ..all.clone() },
            UsageFilter { group_id: Some(group(2)), ..all.clone() },
            UsageFilter { model: Some("model-1".into()), ..all.clone() },
            UsageFilter { node: Some("sp-3".into()), from, ..all.clone() },
            UsageFilter { user_id: Some(user(5)), from, to, ..all.clone() },
            UsageFilter { model: Some("MODEL-1".into()), ..all.clone() },
        ] {
            let fits = |record: &&UsageRecord| {
                filter.user_id.is_none_or(|id| record.user_id == id)
                    && filter.group_id.is_none_or(|id| record.group_id == Some(id))
                    && filter.model.as_deref().is_none_or(|model| *record.model == *model)
                    && filter.node.as_deref().is_none_or(|node| record.source_node.as_str() == node)
                    && filter.from.is_none_or(|from| record.created_at >= from)
                    && filter.to.is_none_or(|to| record.created_at < to)
            };
            let expected: HashSet<_> = records.iter().filter(fits).map(|record| record.request_id).collect();
            let page = usage.query(&filter, 1_000, None).await.expect("a page");
            let shown: HashSet<_> = page.items.iter().map(|log| log.record.request_id).collect();
            assert_eq!(shown, expected, "{filter:?}");
            assert_eq!(page.next, None);
        }
    }

    async fn pages_of_one_user_show_every_log_once_across_the_hours(db: TestDatabase) {
        let usage = UsageRepo::on(&db.store);
        let mut dice = Dice(13);
        let mut records: Vec<_> = (0..300).map(|_| dice.record(at("2026-11-20"), DAY)).collect();
        // the hour's edges, and hours in which nobody else does anything
        for moment in ["2026-11-20T23:59:59.999999Z", "2026-11-21T00:00:00Z", "2026-11-23T12:00:00Z"] {
            records.extend([record(at(moment)), record(at(moment)), record(at(moment))]);
        }
        usage.insert_batch(&records, true).await.expect("inserted");
        let mine = records.iter().filter(|record| record.user_id == user(1));
        let mut expected: Vec<_> = mine.map(|record| (record.created_at, record.request_id)).collect();
        expected.sort_by(|one, other| other.cmp(one));
        let filter = UsageFilter { user_id: Some(user(1)), ..UsageFilter::default() };
        for limit in [1, 2, 7, 1_000] {
            let (mut seen, mut cursor) = (Vec::new(), None);
            loop {
                let page = usage.query(&filter, limit, cursor).await.expect("a page");
                seen.extend(page.items.iter().map(|log| (log.record.created_at, log.record.request_id)));
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
                assert_eq!(page.items.len(), limit, "a page with a next one is full");
            }
            assert_eq!(seen, expected, "{limit} at a time");
        }
        let nobody = UsageFilter { user_id: Some(user(999)), ..UsageFilter::default() };
        assert_eq!(usage.query(&nobody, 5, None).await.expect("a page").items, []);
    }

    async fn quotas_start_from_what_was_used_since_day_and_month_began(db: TestDatabase) {
        let usage = UsageRepo::on(&db.store);
        let now = at("2027-01-02T12:00:00Z");
        let of = |moment: &str, source: &str, member: bool| {
            let mut record = record(at(moment));
            record.source_node = node(source);
            record.group_id = member.then(|| group(1));
            record
        };
        let records = [
            of("2026-12-31T23:59:59.999999Z", "sp-1", true), // last month
            of("2027-01-01T00:00:00Z", "sp-1", true),
            of("2027-01-01T23:59:59.999999Z", "sp-2", false),
            of("2027-01-02T00:00:00Z", "sp-2", true),
            of("2027-01-02T11:00:00Z", "sp-1", true),
        ];
        usage.insert_batch(&records, true).await.expect("inserted");
        let used = |day: u64, month: u64, cost: i64| Used {
            daily_tokens: day * 110,
            monthly_tokens: month * 110,
            monthly_nanousd: cost * 1_000,
        };
        let sp2 = node("sp-2");
        for (source, of_user, of_group) in [
            (NodeFilter::All, used(2, 4, 4), used(2, 3, 3)),
            (NodeFilter::Only(&sp2), used(1, 2, 2), used(1, 1, 1)),
            (NodeFilter::Except(&sp2), used(1, 2, 2), used(1, 2, 2)),
        ] {
            let totals = usage.used(now, source).await.expect("sums");
            assert_eq!(totals.users.get(&user(1)), Some(&of_user), "{source:?}");
            assert_eq!(totals.groups.get(&group(1)), Some(&of_group), "{source:?}");
        }
    }

    async fn what_a_node_used_comes_with_the_number_of_batches_that_are_in_it(db: TestDatabase) {
        let usage = UsageRepo::on(&db.store);
        let now = at("2026-11-22T12:00:00Z");
        let (sp2, sp3) = (node("sp-2"), node("sp-3"));
        assert_eq!(usage.used_by(&sp2, now).await.expect("sums"), (UsedTotals::default(), 0));
        let of = |moment: &str| {
            let mut record = record(at(moment));
            record.source_node = node("sp-2");
            record
        };
        for moment in ["2026-10-31T23:00:00Z", "2026-11-21T11:00:00Z", "2026-11-22T11:00:00Z"] {
            usage.insert_pushed_batch(&std::sync::Arc::new(vec![of(moment)]), &sp2, &sproxy::domain::fence::Fence::default()).await.expect("taken");
        }
        usage.insert_batch(&[record(now)], true).await.expect("inserted");
        let (totals, batches) = usage.used_by(&sp2, now).await.expect("sums");
        let expected = Used { daily_tokens: 110, monthly_tokens: 220, monthly_nanousd: 2_000 };
        assert_eq!((totals.users.get(&user(1)), batches), (Some(&expected), 3));
        let next_month = usage.used_by(&sp2, at("2026-12-01T00:00:00Z")).await.expect("sums");
        assert_eq!(next_month, (UsedTotals::default(), 3), "the number of a node that has used nothing");
        assert_eq!(usage.used_by(&sp3, now).await.expect("sums").1, 0);
    }

    async fn two_writers_at_once_lose_nothing_and_count_nothing_twice(db: TestDatabase) {
        let other = db.second_store().await;
        let mut dice = Dice(3);
        let records: Vec<_> = (0..600).map(|_| dice.record(at("2026-11-22"), DAY)).collect();
        let push = |store: sproxy::store::Store, records: Vec<UsageRecord>| async move {
            let mut new = 0;
            for batch in records.chunks(50) {
                // two transactions that wait for each other in a circle are one refused by the database: try again
                let inserted = loop {
                    match UsageRepo::on(&store).insert_batch(batch, true).await {
                        Ok(inserted) => break inserted,
                        Err(error) => assert!(error.is_temporary(), "{error}"),
                    }
                };
                new += inserted.added();
            }
            new
        };
        let mut backwards = records.clone();
        backwards.reverse();
        let (first, second) = tokio::join!(
            tokio::spawn(push(db.store.clone(), records.clone())),
            tokio::spawn(push(other, backwards))
        );
        assert_eq!(first.expect("pushed") + second.expect("pushed"), records.len());
        let totals = UsageRepo::on(&db.store).global_sum_tokens(at("2026-11-22"), at("2026-11-23")).await;
        assert_eq!(totals.expect("sums"), sum(&records));
    }

    async fn money_adds_up_to_the_last_unit_where_floating_point_would_not(db: TestDatabase) {
        let usage = UsageRepo::on(&db.store);
        let mut large = record(at("2026-11-22T10:00:00Z"));
        large.cost_nanousd = (1 << 53) + 1;
        let mut small = record(at("2026-11-22T10:00:00Z"));
        small.cost_nanousd = 1;
        usage.insert_batch(&[large, small], true).await.expect("inserted");
        let cost = usage.sum_cost_usd(at("2026-11-22"), at("2026-11-23")).await.expect("a sum");
        assert_eq!(cost, (1 << 53) + 2);
    }
}

#[tokio::test]
async fn a_batch_that_was_handed_over_is_booked_though_its_caller_stops_waiting() {
    let db = TestDatabase::sqlite().await;
    let usage = UsageRepo::on(&db.store);
    let now = at("2026-11-22T10:00:00Z");
    let (left, waited_for) = ([record(now)], [record(now)]);
    let unfinished = usage.insert_batch(&left, true);
    // asked once and dropped: handed over by then, and nearly always not done
    drop(futures_util::FutureExt::now_or_never(unfinished));
    usage.insert_batch(&waited_for, true).await.expect("inserted");
    let totals = usage.global_sum_tokens(at("2026-11-22"), at("2026-11-23")).await.expect("sums");
    assert_eq!(totals, sum(left.iter().chain(&waited_for)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_gets_its_turn_while_usage_is_booked_without_a_break() {
    let db = TestDatabase::sqlite().await;
    let done = std::sync::atomic::AtomicBool::new(false);
    let booking = async {
        let mut booked = Vec::new();
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            let batch: Vec<_> = (0..100).map(|_| record(at("2026-11-22T10:00:00Z"))).collect();
            UsageRepo::on(&db.store).insert_batch(&batch, true).await.expect("inserted");
            booked.extend(batch);
        }
        booked
    };
    let changing = async {
        for _ in 0..20 {
            let tx = db.store.begin().await.expect("its turn");
            MetaRepo::on(&tx).set(MetaKey::NodeId, "sp-1").await.expect("set");
            tx.commit().await.expect("committed");
            MetaRepo::on(&db.store).set(MetaKey::NodeId, "sp-2").await.expect("its turn");
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    let (booked, ()) = tokio::join!(booking, changing);
    let totals = UsageRepo::on(&db.store).global_sum_tokens(at("2026-11-22"), at("2026-11-23")).await;
    assert_eq!(totals.expect("sums"), sum(&booked));
}

/// What statistics should say, added up here.
fn grouped(records: &[UsageRecord], by: StatsBy, from: Timestamp, to: Timestamp) -> BTreeMap<String, Totals> {
    let mut groups = BTreeMap::<String, Totals>::new();
    for record in within(records, from, to) {
        let key = match by {
            StatsBy::User => record.user_id.to_string(),
            StatsBy::Group => record.group_id.map_or(String::new(), |id| id.to_string()),
            StatsBy::Model => record.model.to_string(),
            StatsBy::Node => record.source_node.to_string(),
            StatsBy::Day => record.created_at.day_start().to_string()[..10].to_owned(),
        };
        groups.entry(key).or_default().add(&sum([record]));
    }
    groups
}
