//! The description of all routes that `GET /openapi.json` serves. It is written by hand; `tests/openapi.rs` compares it
//! with the routes.
//!
//! Not every generator reads OpenAPI 3.1, so `GET /openapi-3.0.json` serves the same in 3.0.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

/// OpenAPI 3.1, as JSON.
pub const OPENAPI: &str = include_str!("openapi.json");

/// The same in OpenAPI 3.0, as JSON.
#[must_use]
pub fn openapi_3_0() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| match serde_json::from_str(OPENAPI) {
        Ok(description) => to_3_0(description).to_string(),
        // Cannot happen: a test reads the constant.
        Err(_) => OPENAPI.to_owned(),
    });
    &TEXT
}

fn to_3_0(mut description: Value) -> Value {
    description["openapi"] = json!("3.0.3");
    if let Some(Value::Object(license)) = description.pointer_mut("/info/license") {
        license.remove("identifier");
    }
    let schemas = description["components"]["schemas"].clone();
    rewrite(&mut description, &schemas);
    description
}

/// Version 3.0 has neither the type `null` nor `const`.
fn rewrite(value: &mut Value, schemas: &Value) {
    match value {
        Value::Object(fields) => {
            allow_null(fields, schemas);
            if let Some(constant) = fields.remove("const") {
                fields.insert("enum".into(), json!([constant]));
            }
            fields.values_mut().for_each(|field| rewrite(field, schemas));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rewrite(item, schemas)),
        _ => {}
    }
}

/// `"type": [x, "null"]` becomes `"type": x, "nullable": true`. `"oneOf": [x, {"type": "null"}]` becomes the schema
/// that x refers to, plus `nullable`: in 3.0 `nullable` has an effect only beside a `type`.
fn allow_null(fields: &mut Map<String, Value>, schemas: &Value) {
    let (null, null_type) = (json!("null"), json!({ "type": "null" }));
    if let Some(Value::Array(types)) = fields.get("type")
        && let [kind, other] = &types[..]
        && *other == null
    {
        let kind = kind.clone();
        fields.insert("type".into(), kind);
        fields.insert("nullable".into(), json!(true));
    }
    if let Some(Value::Array(choices)) = fields.get("oneOf")
        && let [schema, other] = &choices[..]
        && *other == null_type
        && let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next())
        && let Value::Object(referred) = &schemas[name]
    {
        let referred = referred.clone();
        fields.remove("oneOf");
        for (key, value) in referred {
            fields.entry(key).or_insert(value);
        }
        if let Some(Value::Array(words)) = fields.get_mut("enum") {
            words.push(Value::Null);
        }
        fields.insert("nullable".into(), json!(true));
    }
}
