//! The schemas that are published (RFC 7643, section 7): of users and groups what is kept here, and of the protocol's own
//! resources what they have.

use serde_json::{Value, json};

pub const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
pub const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
pub const CONFIGURATION: &str = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig";
pub const RESOURCE_TYPE: &str = "urn:ietf:params:scim:schemas:core:2.0:ResourceType";
pub const SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:Schema";

/// Every schema, without where it is.
pub fn all() -> Vec<Value> {
    vec![user(), group(), configuration(), resource_type(), schema()]
}

/// An attribute: a text that can be written, until it is made something else.
struct Attribute(Value);

impl Attribute {
    fn new(name: &str, description: &str) -> Self {
        Self(json!({
            "name": name,
            "type": "string",
            "multiValued": false,
            "description": description,
            "required": false,
            "caseExact": true,
            "mutability": "readWrite",
            "returned": "default",
            "uniqueness": "none",
        }))
    }

    fn with(mut self, key: &str, value: Value) -> Self {
        self.0[key] = value;
        self
    }

    fn kind(mut self, kind: &str) -> Self {
        if let Some(fields) = self.0.as_object_mut().filter(|_| kind != "reference") {
            fields.remove("caseExact");
        }
        self.with("type", json!(kind))
    }

    fn flag(self) -> Self {
        self.kind("boolean")
    }

    fn reference(self, to: &str) -> Self {
        self.kind("reference").with("referenceTypes", json!([to]))
    }

    fn complex(self, parts: Vec<Self>) -> Self {
        let parts: Vec<Value> = parts.into_iter().map(|part| part.0).collect();
        self.kind("complex").with("subAttributes", parts.into())
    }

    fn several(self) -> Self {
        self.with("multiValued", json!(true))
    }

    fn required(self) -> Self {
        self.with("required", json!(true))
    }

    fn unique(self) -> Self {
        self.with("uniqueness", json!("server"))
    }

    fn one_of(self, values: &[&str]) -> Self {
        self.with("canonicalValues", json!(values))
    }

    /// It stays as it was given.
    fn immutable(self) -> Self {
        self.with("mutability", json!("immutable"))
    }

    fn read_only(self) -> Self {
        self.with("mutability", json!("readOnly"))
    }
}

fn of(id: &str, name: &str, description: &str, attributes: Vec<Attribute>) -> Value {
    let attributes: Vec<Value> = attributes.into_iter().map(|attribute| attribute.0).collect();
    json!({"schemas": [SCHEMA], "id": id, "name": name, "description": description, "attributes": attributes})
}

fn user() -> Value {
    let groups = vec![
        Attribute::new("value", "The group's id.").read_only(),
        Attribute::new("$ref", "Where the group is.").reference("Group").read_only(),
        Attribute::new("display", "The group's name.").read_only(),
        Attribute::new("type", "How the user came into it.").one_of(&["direct"]).read_only(),
    ];
    let attributes = vec![
        Attribute::new("userName", "What the user is called, at most 128 characters.").required().unique(),
        // A user here always is one or the other.
        Attribute::new("active", "Whether the user may call; true unless it is said.").flag().required(),
        Attribute::new("groups", "The group whose limits the user shares, if any.")
            .complex(groups)
            .several()
            .read_only(),
    ];
    of(USER, "User", "A person or service that may call.", attributes)
}

fn group() -> Value {
    let members = vec![
        Attribute::new("value", "The user's id.").immutable(),
        Attribute::new("$ref", "Where the user is.").reference("User").immutable(),
        Attribute::new("type", "Members are users.").one_of(&["User"]).immutable(),
    ];
    let attributes = vec![
        Attribute::new("displayName", "What the group is called, at most 128 characters.")
            .required()
            .unique(),
        Attribute::new("members", "The users who share the group's limits; each is in one group.")
            .complex(members)
            .several(),
    ];
    of(GROUP, "Group", "Users who share limits.", attributes)
}

fn configuration() -> Value {
    let supported = || Attribute::new("supported", "Whether it is.").flag().required().read_only();
    let feature = |name: &str, description: &str| {
        Attribute::new(name, description).complex(vec![supported()]).required().read_only()
    };
    let number = |name: &str, description: &str| {
        Attribute::new(name, description).kind("integer").required().read_only()
    };
    let bulk = vec![
        supported(),
        number("maxOperations", "Operations in one request."),
        number("maxPayloadSize", "Bytes of one request."),
    ];
    let filter = vec![supported(), number("maxResults", "Resources in one answer.")];
    let schemes = vec![
        Attribute::new("type", "The kind of credential.")
            .one_of(&["oauth", "oauth2", "oauthbearertoken", "httpbasic", "httpdigest"])
            .required()
            .read_only(),
        Attribute::new("name", "What people call it.").required().read_only(),
        Attribute::new("description", "How it is sent.").required().read_only(),
        Attribute::new("specUri", "Its specification.").reference("external").read_only(),
        Attribute::new("documentationUri", "Its documentation.").reference("external").read_only(),
        Attribute::new("primary", "Whether it is preferred.").flag().read_only(),
    ];
    let attributes = vec![
        Attribute::new("documentationUri", "A manual for people.").reference("external").read_only(),
        feature("patch", "Changes of parts of a resource."),
        Attribute::new("bulk", "Several changes in one request.").complex(bulk).required().read_only(),
        Attribute::new("filter", "Lists of what meets a condition.").complex(filter).required().read_only(),
        feature("changePassword", "Changes of passwords."),
        feature("sort", "Lists in an order that is asked for."),
        feature("etag", "Versions of resources."),
        Attribute::new("authenticationSchemes", "How directories prove themselves.")
            .complex(schemes)
            .several()
            .required()
            .read_only(),
    ];
    of(CONFIGURATION, "ServiceProviderConfig", "What this side of the protocol can do.", attributes)
}

fn resource_type() -> Value {
    let extensions = vec![
        Attribute::new("schema", "The extension's schema.").reference("uri").required().read_only(),
        Attribute::new("required", "Whether every resource has it.").flag().required().read_only(),
    ];
    let attributes = vec![
        Attribute::new("id", "The id of the kind of resource.").read_only(),
        Attribute::new("name", "Its name.").required().read_only(),
        Attribute::new("description", "What it is.").read_only(),
        Attribute::new("endpoint", "Where it is, below the base URL.")
            .reference("uri")
            .required()
            .read_only(),
        Attribute::new("schema", "Its schema.").reference("uri").required().read_only(),
        Attribute::new("schemaExtensions", "Schemas that it may have besides.")
            .complex(extensions)
            .several()
            .read_only(),
    ];
    of(RESOURCE_TYPE, "ResourceType", "A kind of resource.", attributes)
}

fn schema() -> Value {
    let mut attribute = described_attribute();
    attribute.push(
        Attribute::new("subAttributes", "The parts of a complex attribute.")
            .complex(described_attribute())
            .several()
            .read_only(),
    );
    let attributes = vec![
        Attribute::new("id", "The schema's URI.").required().read_only(),
        Attribute::new("name", "Its name.").read_only(),
        Attribute::new("description", "What it describes.").read_only(),
        Attribute::new("attributes", "What resources of it have.")
            .complex(attribute)
            .several()
            .required()
            .read_only(),
    ];
    of(SCHEMA, "Schema", "What a kind of resource has.", attributes)
}

fn described_attribute() -> Vec<Attribute> {
    let kinds = ["string", "complex", "boolean", "decimal", "integer", "dateTime", "reference", "binary"];
    vec![
        Attribute::new("name", "Its name.").required().read_only(),
        Attribute::new("type", "What its values are.").one_of(&kinds).required().read_only(),
        Attribute::new("multiValued", "Whether it has several values.").flag().required().read_only(),
        Attribute::new("description", "What it means.").read_only(),
        Attribute::new("required", "Whether it has to be there.").flag().read_only(),
        Attribute::new("canonicalValues", "Values that it usually has.").several().read_only(),
        Attribute::new("caseExact", "Whether capital letters make a difference.").flag().read_only(),
        Attribute::new("mutability", "Who may change it.")
            .one_of(&["readOnly", "readWrite", "immutable", "writeOnly"])
            .read_only(),
        Attribute::new("returned", "When it is told.")
            .one_of(&["always", "never", "default", "request"])
            .read_only(),
        Attribute::new("uniqueness", "Among which resources no two have the same.")
            .one_of(&["none", "server", "global"])
            .read_only(),
        Attribute::new("referenceTypes", "What a reference leads to.").several().read_only(),
    ]
}
