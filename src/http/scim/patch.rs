//! Patches (RFC 7644, section 3.5.2), as the edits of single attributes that they are made of.

use serde_json::Value;

use crate::http::scim::filter::{self, Comparison};
use crate::http::scim::refusal::{Refusal, ScimType};
use crate::http::scim::resource::{Resource, field};

/// No directory sends more operations at once.
const OPERATIONS_MAX: usize = 1_000;
/// Attributes of the core schemas that nothing here keeps: what is said of them is passed over.
const NOT_KEPT: [&str; 18] = [
    "name",
    "displayname",
    "nickname",
    "profileurl",
    "title",
    "usertype",
    "preferredlanguage",
    "locale",
    "timezone",
    "password",
    "emails",
    "phonenumbers",
    "ims",
    "photos",
    "addresses",
    "entitlements",
    "roles",
    "x509certificates",
];
/// Attributes that are this side's to say.
const OURS: [&str; 4] = ["id", "meta", "groups", "schemas"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Add,
    Replace,
    Remove,
}

/// What becomes of one attribute.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    pub op: Op,
    pub path: Path,
    /// None for null, too.
    pub value: Option<Value>,
    /// The path stood in the operation; otherwise the attribute was one of several in its value.
    is_addressed: bool,
}

/// Where an edit is made: `attribute[filter].sub_attribute`.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    /// In small letters, without the name of a core schema before it.
    pub attribute: String,
    pub filter: Vec<Comparison>,
    pub sub_attribute: Option<String>,
}

/// Reads a patch.
///
/// # Errors
/// `invalidSyntax`, `invalidPath`, `noTarget`.
pub fn read(body: &Resource) -> Result<Vec<Edit>, Refusal> {
    let operations = body.get("Operations").and_then(Value::as_array).ok_or_else(|| {
        Refusal::bad(ScimType::InvalidSyntax, "the body has to have a list of operations: Operations")
    })?;
    if operations.len() > OPERATIONS_MAX {
        let text = format!("there are more than {OPERATIONS_MAX} operations: send several requests");
        return Err(Refusal::bad(ScimType::InvalidSyntax, text));
    }
    let mut edits = Vec::new();
    for operation in operations {
        read_operation(operation, &mut edits)?;
    }
    Ok(edits)
}

fn read_operation(operation: &Value, edits: &mut Vec<Edit>) -> Result<(), Refusal> {
    let wrong = |text: &str| Refusal::bad(ScimType::InvalidSyntax, text);
    let operation = operation.as_object().ok_or_else(|| wrong("an operation has to be an object"))?;
    let op = match field(operation, "op").and_then(Value::as_str) {
        Some(op) if op.eq_ignore_ascii_case("add") => Op::Add,
        Some(op) if op.eq_ignore_ascii_case("replace") => Op::Replace,
        Some(op) if op.eq_ignore_ascii_case("remove") => Op::Remove,
        _ => return Err(wrong("op has to be add, replace or remove")),
    };
    let value = field(operation, "value").filter(|value| !value.is_null());
    match field(operation, "path").filter(|path| !path.is_null()) {
        Some(Value::String(path)) => {
            let path = Path::read(path)?;
            edits.push(Edit { op, path, value: value.cloned(), is_addressed: true });
        }
        Some(_) => return Err(Refusal::bad(ScimType::InvalidPath, "path has to be a text")),
        None if op == Op::Remove => {
            return Err(Refusal::bad(ScimType::NoTarget, "an operation that removes has to have a path"));
        }
        None => {
            let attributes = value.and_then(Value::as_object);
            let attributes =
                attributes.ok_or_else(|| wrong("without a path, value has to be an object of attributes"))?;
            for (name, value) in attributes {
                let value = Some(value.clone()).filter(|value| !value.is_null());
                edits.push(Edit { op, path: Path::read(name)?, value, is_addressed: false });
            }
        }
    }
    Ok(())
}

impl Path {
    fn read(text: &str) -> Result<Self, Refusal> {
        let wrong = || Refusal::bad(ScimType::InvalidPath, format!("`{text}` is no path to an attribute"));
        let (name, filter, rest) = match text.split_once('[') {
            None => (text, Vec::new(), ""),
            Some((name, rest)) => {
                let (filter, rest) = rest.rsplit_once(']').ok_or_else(wrong)?;
                (name, filter::parse(filter)?, rest)
            }
        };
        let name = filter::plain_name(name.trim());
        let is_name = |name: &str| {
            let more = if is_extension(name) { "$-_:." } else { "$-_" };
            let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '$');
            starts && name.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        // The name of an extension's schema has dots of its own.
        let (attribute, sub_attribute) = match name.split_once('.').filter(|_| !is_extension(&name)) {
            Some((attribute, sub)) if rest.is_empty() && filter.is_empty() => {
                (attribute, Some(sub.to_owned()))
            }
            Some(_) => return Err(wrong()),
            None => (name.as_str(), rest.strip_prefix('.').map(str::to_ascii_lowercase)),
        };
        let is_wrong = !is_name(attribute)
            || sub_attribute.as_ref().is_some_and(|sub| !is_name(sub))
            || (!rest.is_empty() && sub_attribute.is_none());
        if is_wrong {
            return Err(wrong());
        }
        Ok(Self { attribute: attribute.to_owned(), filter, sub_attribute })
    }

    /// Whether it is an attribute as a whole.
    pub fn is_whole(&self) -> bool {
        self.filter.is_empty() && self.sub_attribute.is_none()
    }
}

impl Edit {
    /// Of an attribute that is one value and has to stay: a refusal to remove it, or to look for a part of it.
    ///
    /// # Errors
    /// `mutability`, `invalidPath`.
    pub fn demand_value(&self, name: &str) -> Result<(), Refusal> {
        self.demand_whole(name)?;
        if self.op == Op::Remove || self.value.is_none() {
            return Err(Refusal::bad(ScimType::Mutability, format!("{name} cannot be removed")));
        }
        Ok(())
    }

    /// Of an attribute that is one value: a refusal to look for a part of it.
    ///
    /// # Errors
    /// `invalidPath`.
    pub fn demand_whole(&self, name: &str) -> Result<(), Refusal> {
        if self.path.is_whole() {
            return Ok(());
        }
        Err(Refusal::bad(ScimType::InvalidPath, format!("{name} has no parts")))
    }

    /// What becomes of an edit of any other attribute: nothing, where it is one that is not kept.
    ///
    /// # Errors
    /// `mutability` for what this side says itself, `invalidPath` for what no schema has.
    pub fn pass_over(&self) -> Result<(), Refusal> {
        let name = self.path.attribute.as_str();
        if OURS.contains(&name) && self.is_addressed {
            return Err(Refusal::bad(ScimType::Mutability, format!("{name} cannot be changed")));
        }
        if OURS.contains(&name) || NOT_KEPT.contains(&name) || is_extension(name) {
            return Ok(());
        }
        Err(Refusal::bad(ScimType::InvalidPath, format!("there is no attribute {name}")))
    }
}

/// Whether an attribute is one of a schema that is not a core schema, or such a schema itself.
fn is_extension(name: &str) -> bool {
    name.starts_with("urn:")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn edits(operations: &Value) -> Result<Vec<Edit>, Refusal> {
        let body = json!({ "Operations": operations }).to_string();
        read(&Resource::read(body.as_bytes()).expect("an object"))
    }

    #[test]
    fn an_operation_without_a_path_edits_each_attribute_of_its_value() {
        let read = edits(&json!([{"op": "Replace", "value": {"active": "False", "userName": null}}]))
            .expect("edits");
        let told: Vec<_> =
            read.iter().map(|edit| (edit.op, edit.path.attribute.as_str(), &edit.value)).collect();
        assert_eq!(told, [(Op::Replace, "active", &Some(json!("False"))), (Op::Replace, "username", &None)]);
    }

    #[test]
    fn a_path_may_have_a_filter_and_parts() {
        let path = |text: &str| Path::read(text).expect("a path");
        let members = path(r#"members[value eq "a.b]"]"#);
        assert_eq!((members.attribute.as_str(), members.filter.len()), ("members", 1));
        let mail = path(r#"emails[type eq "work"].value"#);
        assert_eq!((mail.attribute.as_str(), mail.sub_attribute.as_deref()), ("emails", Some("value")));
        assert_eq!(path("name.givenName").sub_attribute.as_deref(), Some("givenname"));
        assert!(path("urn:ietf:params:scim:schemas:core:2.0:User:active").is_whole());
        let extension = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department";
        assert_eq!(path(extension).attribute, extension.to_ascii_lowercase());
        for wrong in
            ["", "a b", "members[", "members[]", "members[value pr]", "a.b.", ".a", "members]", "a[b eq 1]c"]
        {
            assert!(Path::read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_not_kept_is_passed_over_and_what_is_no_attribute_is_refused() {
        let outcome = |path: &str| {
            let edits = edits(&json!([{"op": "add", "path": path, "value": "x"}])).expect("edits");
            edits[0].pass_over().map_err(|refused| refused.scim_type())
        };
        for path in ["displayName", "name.familyName", r#"emails[type eq "work"].value"#, "urn:x:2.0:User:y"]
        {
            assert_eq!(outcome(path), Ok(()), "{path}");
        }
        assert_eq!(outcome("id"), Err(Some(ScimType::Mutability)));
        assert_eq!(outcome("usrName"), Err(Some(ScimType::InvalidPath)));
    }

    #[test]
    fn what_is_no_patch_is_refused() {
        for (operations, expected) in [
            (json!({}), ScimType::InvalidSyntax),
            (json!(["add"]), ScimType::InvalidSyntax),
            (json!([{"op": "move", "path": "active"}]), ScimType::InvalidSyntax),
            (json!([{"op": "add", "value": 5}]), ScimType::InvalidSyntax),
            (json!([{"op": "remove"}]), ScimType::NoTarget),
            (json!([{"op": "remove", "path": 5}]), ScimType::InvalidPath),
        ] {
            let refused = edits(&operations).expect_err("no patch");
            assert_eq!(refused.scim_type(), Some(expected), "{operations}");
        }
    }
}
