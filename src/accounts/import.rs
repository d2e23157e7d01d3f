//! Many people at once: a file's rows become what the database holds, all of them or none.
//!
//! The same steps are taken to say what would happen and to let it happen: in one transaction, which is thrown away if
//! that was not asked for, or if a row is refused.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::accounts::audit::{Actor, difference, of_group, of_key, of_user};
use crate::accounts::authority::Authority;
use crate::accounts::directory::Directory;
use crate::accounts::error::Error;
use crate::accounts::limits::LimitsChange;
use crate::accounts::users::{CheckedUser, UserChange};
use crate::accounts::{Accounts, Change, names};
use crate::crypto::api_key;
use crate::crypto::secret_text;
use crate::domain::group::{Group, Limits};
use crate::domain::ids::{GroupId, KeyId};
use crate::domain::user::{ApiKey, Role, User};
use crate::store::{ApiKeyRepo, GroupRepo, UserRepo, retried};

/// The most passwords of one import: each takes a processor for a while.
const PASSWORDS_MAX: usize = 100;
/// Characters of a password: 20 of base 62 carry 119 bits.
const PASSWORD_CHARS: usize = 20;
/// The label of keys that are made with their users.
const KEY_NAME: &str = "import";

/// What a row says of a user; `None` leaves it as it is, or as it is for new ones.
#[derive(Clone, Debug)]
pub struct ImportRow {
    /// Of the file, from 1 on.
    pub line: u64,
    pub name: String,
    /// Another group, by id or name, or `None` to leave the group.
    pub group: Option<Option<String>>,
    pub role: Option<Role>,
    /// The groups that a manager manages, by id or name: these, and no others.
    pub manages: Option<Vec<String>>,
    pub active: Option<bool>,
    pub limits: LimitsChange,
}

/// A row that cannot be understood.
#[derive(Clone, Debug)]
pub struct RefusedRow {
    pub line: u64,
    pub name: String,
    pub reason: String,
}

/// How rows are imported.
#[allow(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
#[derive(Clone, Copy, Debug, Default)]
pub struct ImportOptions {
    /// Only say what would happen.
    pub dry_run: bool,
    /// Make groups that do not exist, without limits; otherwise their rows are refused.
    pub create_groups: bool,
    /// Make a key for everybody who is new.
    pub keys: bool,
    /// Make a password for everybody who is new.
    pub passwords: bool,
}

/// What becomes of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum ImportOutcome {
    Created,
    Changed,
    /// The user is as the row says.
    Unchanged,
    /// Why.
    Refused(String),
}

/// A row, and what becomes of it.
#[derive(Clone)]
pub struct ImportedRow {
    pub line: u64,
    pub name: String,
    pub outcome: ImportOutcome,
    /// What was there before, of what changes; null: nothing.
    pub before: Value,
    /// What is there then.
    pub after: Value,
    /// A new user's key. This is the only time that it can be seen.
    pub key: Option<String>,
    /// A new user's password. This is the only time that it can be seen.
    pub password: Option<String>,
}

/// What becomes of a file.
#[derive(Clone, Default)]
pub struct Imported {
    pub rows: Vec<ImportedRow>,
    /// The names of groups that are made.
    pub groups: Vec<String>,
    /// False: nothing was changed, because that was not asked for, or a row is refused.
    pub applied: bool,
}

/// What the directory has to take over.
#[derive(Default)]
struct Made {
    groups: Vec<Group>,
    users: Vec<User>,
    keys: Vec<ApiKey>,
}

/// A new user's password, and what is kept of it.
#[derive(Clone)]
struct NewPassword {
    text: String,
    hash: String,
}

impl Accounts {
    /// Makes users what `rows` say: those that are there are changed, the others are made. Nothing is changed if a row is
    /// refused, or by a dry run.
    ///
    /// # Errors
    /// [`Error::RoleNeeded`] for whoever is no admin, [`Error::Invalid`] for more passwords than are made at once,
    /// [`Error::Conflict`] when somebody else has made users meanwhile, and the database's.
    pub async fn import_users(
        &self,
        actor: &Actor,
        rows: &[Result<ImportRow, RefusedRow>],
        options: ImportOptions,
    ) -> Result<Imported, Error> {
        let passwords = &self.passwords_for(rows, options).await?;
        retried(|| self.import_once(actor, rows, options, passwords)).await
    }

    /// Passwords take long: they are made before the change begins.
    async fn passwords_for(
        &self,
        rows: &[Result<ImportRow, RefusedRow>],
        options: ImportOptions,
    ) -> Result<HashMap<String, NewPassword>, Error> {
        let mut passwords = HashMap::new();
        if !options.passwords {
            return Ok(passwords);
        }
        let mut new = Vec::new();
        for row in rows.iter().flatten() {
            if UserRepo::on(&self.inner.store).get_by_name(&row.name).await?.is_none() {
                new.push(&row.name);
            }
        }
        if new.len() > PASSWORDS_MAX {
            let message = format!("{} new users: passwords are made for {PASSWORDS_MAX} at once", new.len());
            return Err(Error::Invalid(message));
        }
        for name in new.into_iter().filter(|_| !options.dry_run) {
            let text = secret_text::random(PASSWORD_CHARS)?;
            let hash = self.hash(text.clone()).await?;
            passwords.insert(name.clone(), NewPassword { text, hash });
        }
        Ok(passwords)
    }

    async fn import_once(
        &self,
        actor: &Actor,
        rows: &[Result<ImportRow, RefusedRow>],
        options: ImportOptions,
        passwords: &HashMap<String, NewPassword>,
    ) -> Result<Imported, Error> {
        let change = self.change().await?;
        let authority = change.authority(actor).await?;
        authority.demand_admin("importing people")?;
        let mut import = Import {
            change: &change,
            actor,
            authority,
            options,
            passwords,
            made: Made::default(),
            lines: HashMap::new(),
        };
        let mut imported = Imported::default();
        for row in rows {
            imported.rows.push(match row {
                Ok(row) => import.row(row).await?,
                Err(refused) => refused_row(refused.line, &refused.name, refused.reason.clone()),
            });
        }
        let made = import.made;
        imported.groups = made.groups.iter().map(|group| group.name.clone()).collect();
        let is_refused = |row: &ImportedRow| matches!(row.outcome, ImportOutcome::Refused(_));
        if options.dry_run || imported.rows.iter().any(is_refused) {
            return Ok(imported);
        }
        if !made.users.is_empty() || !made.groups.is_empty() {
            change.commit(made, follow).await?;
        }
        Ok(Imported { applied: true, ..imported })
    }
}

fn follow(directory: &Directory, made: &Made) {
    made.groups.iter().for_each(|group| directory.put_group(group));
    made.users.iter().for_each(|user| directory.put_user(user));
    made.keys.iter().for_each(|key| directory.put_key(key));
}

fn refused_row(line: u64, name: &str, reason: String) -> ImportedRow {
    ImportedRow {
        line,
        name: name.to_owned(),
        outcome: ImportOutcome::Refused(reason),
        before: Value::Null,
        after: Value::Null,
        key: None,
        password: None,
    }
}

/// An import under way.
struct Import<'c> {
    change: &'c Change,
    actor: &'c Actor,
    authority: Authority,
    options: ImportOptions,
    passwords: &'c HashMap<String, NewPassword>,
    made: Made,
    /// The line on which each name stands.
    lines: HashMap<String, u64>,
}

impl Import<'_> {
    /// Writes what a row says. What is wrong with the row is its outcome; an error is one of the database.
    async fn row(&mut self, row: &ImportRow) -> Result<ImportedRow, Error> {
        if let Some(line) = self.lines.insert(row.name.clone(), row.line) {
            let reason = format!("the same user is on line {line}");
            return Ok(refused_row(row.line, &row.name, reason));
        }
        match self.write(row).await {
            Ok(written) => Ok(written),
            Err(
                error @ (Error::Invalid(_)
                | Error::Conflict(_)
                | Error::LastAdmin
                | Error::NotFound { .. }
                | Error::RoleNeeded(_)),
            ) => Ok(refused_row(row.line, &row.name, error.to_string())),
            Err(error) => Err(error),
        }
    }

    async fn write(&mut self, row: &ImportRow) -> Result<ImportedRow, Error> {
        names::check("user", &row.name)?;
        if self.options.create_groups {
            let named = row.group.iter().flatten().chain(row.manages.iter().flatten());
            for named in named {
                self.make_group(named).await?;
            }
        }
        match UserRepo::on(&self.change.tx).get_by_name(&row.name).await? {
            Some(before) => self.change_user(row, before).await,
            None => self.make_user(row).await,
        }
    }

    async fn make_group(&mut self, named: &str) -> Result<(), Error> {
        let tx = &self.change.tx;
        let is_there = match named.parse::<GroupId>() {
            Ok(_) => true,
            Err(_) => GroupRepo::on(tx).get_by_name(named).await?.is_some(),
        };
        if is_there {
            return Ok(());
        }
        names::check("group", named)?;
        let now = self.change.now;
        let (id, name) = (GroupId::new(), named.to_owned());
        let group = Group { id, name, limits: Limits::default(), created_at: now, updated_at: now };
        GroupRepo::on(tx).create(&group).await?;
        let subject = format!("group {named}");
        self.change.audit(self.actor, "group.create", subject, Value::Null, of_group(&group)).await?;
        self.made.groups.push(group);
        Ok(())
    }

    async fn change_user(&mut self, row: &ImportRow, before: User) -> Result<ImportedRow, Error> {
        let wanted = UserChange {
            name: None,
            group: row.group.clone(),
            role: row.role,
            manages: row.manages.clone(),
            active: row.active,
            limits: row.limits.clone(),
        };
        let after = self.change.edited(&self.authority, &before, wanted).await?;
        if (User { updated_at: before.updated_at, ..after.clone() }) == before {
            return Ok(written(row, ImportOutcome::Unchanged, (Value::Null, Value::Null)));
        }
        let (was, is) = (self.shown(&before), self.shown(&after));
        let after = self.change.write_user(self.actor, &before, after).await?;
        self.made.users.push(after);
        Ok(written(row, ImportOutcome::Changed, (was, is)))
    }

    async fn make_user(&mut self, row: &ImportRow) -> Result<ImportedRow, Error> {
        let password = self.passwords.get(&row.name);
        if self.options.passwords && !self.options.dry_run && password.is_none() {
            return Err(Error::Conflict("users were removed meanwhile: try again".to_owned()));
        }
        let new = CheckedUser {
            name: row.name.clone(),
            group: row.group.clone().flatten(),
            role: row.role.unwrap_or_default(),
            manages: row.manages.clone().unwrap_or_default(),
            active: row.active.unwrap_or(true),
            limits: row.limits.clone().apply(&Limits::default())?,
            password_hash: password.map(|password| password.hash.clone()),
            identity: None,
            external_id: None,
        };
        let user = self.change.add_user(self.actor, &self.authority, new).await?;
        let key = if self.options.keys { Some(self.make_key(&user).await?) } else { None };
        let is = self.shown(&user);
        self.made.users.push(user);
        let written = written(row, ImportOutcome::Created, (Value::Null, is));
        let shown = !self.options.dry_run;
        let (key, password) = (key.filter(|_| shown), password.map(|password| password.text.clone()));
        Ok(ImportedRow { key, password, ..written })
    }

    /// A new user's key.
    async fn make_key(&mut self, user: &User) -> Result<String, Error> {
        let generated = api_key::generate()?;
        let key = ApiKey {
            id: KeyId::new(),
            user_id: user.id,
            name: KEY_NAME.to_owned(),
            prefix: generated.prefix,
            digest: generated.digest,
            created_at: self.change.now,
            last_used_at: None,
            expires_at: None,
        };
        ApiKeyRepo::on(&self.change.tx).create(&key).await?;
        let (subject, is) = (format!("key {}", key.prefix), of_key(&key, &user.name));
        self.change.audit(self.actor, "key.create", subject, Value::Null, is).await?;
        self.made.keys.push(key);
        Ok(generated.text)
    }

    /// A user as the answer and the audit log have them; a group that is made in this import has its name.
    fn shown(&self, user: &User) -> Value {
        let mut shown = of_user(user, &self.change.accounts);
        let name =
            |id: GroupId| self.made.groups.iter().find(|group| group.id == id).map(|group| &group.name);
        if let Some(name) = user.group_id.and_then(name) {
            shown["group"] = json!(name);
        }
        shown
    }
}

fn written(row: &ImportRow, outcome: ImportOutcome, (was, is): (Value, Value)) -> ImportedRow {
    let (before, after) = difference(was, is);
    ImportedRow { line: row.line, name: row.name.clone(), outcome, before, after, key: None, password: None }
}
