//! What a directory that provisions people sees and has said, on both databases.

use std::collections::BTreeMap;

use sproxy::domain::user::User;
use sproxy::store::{GroupQuery, GroupRepo, ProvisioningRepo, UserQuery, UserRepo, Window};

use super::accounts::{named_group, named_user};
use crate::harness::databases::{TestDatabase, on_both};
use crate::harness::records::{at, group, user};

const ALL: Window = Window { skip: 0, limit: 10 };

on_both! {
    async fn a_removed_user_is_not_seen_until_they_work_again(db: TestDatabase) {
        let alice = User { external_id: Some("x".to_owned()), group_id: Some(group(1)), ..named_user(1, "alice") };
        let bob = User { active: false, group_id: Some(group(1)), ..named_user(2, "bob") };
        let tx = db.store.begin().await.expect("a transaction");
        GroupRepo::on(&tx).create(&named_group(1, "devs")).await.expect("created");
        for user in [&alice, &bob] {
            UserRepo::on(&tx).create(user).await.expect("created");
        }
        ProvisioningRepo::on(&tx).remove_user(user(1), at("2026-11-04")).await.expect("noted");
        ProvisioningRepo::on(&tx).remove_user(user(1), at("2026-11-05")).await.expect("noted again");
        tx.commit().await.expect("committed");

        let seen = ProvisioningRepo::on(&db.store);
        // Whoever works was let in by an admin.
        assert_eq!(seen.user(user(1)).await.expect("read"), Some(alice.clone()));
        let tx = db.store.begin().await.expect("a transaction");
        UserRepo::on(&tx).update(&User { active: false, ..alice.clone() }).await.expect("disabled");
        tx.commit().await.expect("committed");
        assert_eq!(seen.user(user(1)).await.expect("read"), None);
        assert_eq!(seen.user(user(2)).await.expect("read"), Some(bob));
        assert_eq!(seen_by(&db, UserQuery::default()).await, (vec!["bob".to_owned()], 1));
        assert_eq!(seen.members(&[group(1), group(9)]).await.expect("read"), BTreeMap::from([(group(1), vec![user(2)])]));

        let tx = db.store.begin().await.expect("a transaction");
        assert!(ProvisioningRepo::on(&tx).forget_user(user(1)).await.expect("forgotten"));
        assert!(!ProvisioningRepo::on(&tx).forget_user(user(1)).await.expect("gone"));
        tx.commit().await.expect("committed");
        let alice = (vec!["alice".to_owned()], 1);
        for query in [
            UserQuery { id: Some(user(1)), ..UserQuery::default() },
            UserQuery { name: Some("alice".to_owned()), active: Some(false), ..UserQuery::default() },
            UserQuery { external_id: Some("x".to_owned()), ..UserQuery::default() },
        ] {
            assert_eq!(seen_by(&db, query).await, alice);
        }
        let (none, total) = seen.users(&UserQuery::default(), Window { skip: 0, limit: 0 }).await.expect("read");
        assert_eq!((none.len(), total), (0, 2));
        let (last, _) = seen.users(&UserQuery::default(), Window { skip: 1, limit: 5 }).await.expect("read");
        assert_eq!(last.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(), ["bob"]);
    }

    async fn a_group_is_found_by_the_directorys_id_and_by_its_members(db: TestDatabase) {
        let tx = db.store.begin().await.expect("a transaction");
        for (number, name) in [(1, "devs"), (2, "ops")] {
            GroupRepo::on(&tx).create(&named_group(number, name)).await.expect("created");
        }
        let alice = User { group_id: Some(group(2)), ..named_user(1, "alice") };
        UserRepo::on(&tx).create(&alice).await.expect("created");
        let repo = ProvisioningRepo::on(&tx);
        repo.set_group_id(group(1), Some("x")).await.expect("kept");
        repo.set_group_id(group(1), Some("y")).await.expect("kept");
        repo.set_group_id(group(2), Some("z")).await.expect("kept");
        tx.commit().await.expect("committed");

        let repo = ProvisioningRepo::on(&db.store);
        for (query, expected) in [
            (GroupQuery::default(), &["devs", "ops"][..]),
            (GroupQuery { external_id: Some("y".to_owned()), ..GroupQuery::default() }, &["devs"]),
            (GroupQuery { external_id: Some("x".to_owned()), ..GroupQuery::default() }, &[]),
            (GroupQuery { member: Some(user(1)), ..GroupQuery::default() }, &["ops"]),
            (GroupQuery { id: Some(group(1)), member: Some(user(1)), ..GroupQuery::default() }, &[]),
            (GroupQuery { name: Some("ops".to_owned()), ..GroupQuery::default() }, &["ops"]),
        ] {
            let (found, total) = repo.groups(&query, ALL).await.expect("read");
            assert_eq!(found.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(), expected, "{query:?}");
            assert_eq!(total, expected.len() as u64);
        }
        let ids = BTreeMap::from([(group(1), "y".to_owned()), (group(2), "z".to_owned())]);
        assert_eq!(repo.group_ids(&[group(1), group(2), group(3)]).await.expect("read"), ids);
        let tx = db.store.begin().await.expect("a transaction");
        assert!(GroupRepo::on(&tx).delete(group(1), false).await.expect("removed"));
        tx.commit().await.expect("committed");
        assert_eq!(repo.group_ids(&[group(1)]).await.expect("read"), BTreeMap::new());
    }
}

async fn seen_by(db: &TestDatabase, query: UserQuery) -> (Vec<String>, u64) {
    let (users, total) = ProvisioningRepo::on(&db.store).users(&query, ALL).await.expect("read");
    (users.into_iter().map(|user| user.name).collect(), total)
}
