//! What the administration's socket says of functions.

use serde_json::Value;

use crate::home::Home;
use crate::http::Connection;

/// All versions of all functions, in the daemon's order.
pub fn functions(home: &Home) -> Vec<Value> {
    list(home, "/_/functions")
}

/// The first version of a function; null if there is none.
pub fn function(home: &Home, name: &str) -> Value {
    of_name(functions(home), name)
}

/// How many requests wait for a worker of a function.
pub fn waiting(home: &Home, name: &str) -> u64 {
    let function = function(home, name);
    function["waiting"].as_u64().unwrap_or_else(|| panic!("nobody can wait: {function}"))
}

/// How many workers of a function have nothing to do.
pub fn idle(home: &Home, name: &str) -> u64 {
    let function = function(home, name);
    let shards = function["workers"].as_array().unwrap_or_else(|| panic!("no workers: {function}")).iter();
    shards.map(|shard| shard["idle"].as_u64().expect("a number")).sum()
}

/// What a function has used; null if there is none.
pub fn usage(home: &Home, name: &str) -> Value {
    of_name(list(home, "/_/usage"), name)
}

fn list(home: &Home, path: &str) -> Vec<Value> {
    let mut answer = Connection::to_socket(&home.admin()).get(path).json();
    match answer["functions"].take() {
        Value::Array(functions) => functions,
        other => panic!("{path} lists no functions: {other}"),
    }
}

fn of_name(functions: Vec<Value>, name: &str) -> Value {
    functions.into_iter().find(|function| function["name"] == name).unwrap_or(Value::Null)
}
