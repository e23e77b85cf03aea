//! What the operator is told over the administration's socket.

use hairtrigger_sandbox::grants::Grants;
use serde::Serialize;
use serde_json::json;

use super::follow::Control;
use super::reload::Asker;
use super::versions::Listed;
use crate::shard::Door;
use crate::shard::admin::{AdminAnswer, AdminRequest};
use crate::shard::inbox::ToShard;

/// The methods of each path, and which it is.
const PATHS: [(&str, &str, Page); 4] = [
    ("functions", "GET, HEAD", Page::Functions),
    ("usage", "GET, HEAD", Page::Usage),
    ("version", "GET, HEAD", Page::Version),
    ("reload", "POST", Page::Reload),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Functions,
    Usage,
    Version,
    Reload,
}

/// What a request comes to, before anything is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Page(Page),
    WrongMethod { allow: &'static str },
    NoSuchPath,
}

fn target(method: &[u8], path: &[u8]) -> Target {
    let Some((_, methods, page)) = PATHS.iter().find(|(known, ..)| known.as_bytes() == path) else {
        return Target::NoSuchPath;
    };
    match methods.split(", ").any(|known| known.as_bytes() == method) {
        true => Target::Page(*page),
        false => Target::WrongMethod { allow: methods },
    }
}

/// A function's version, as it is listed.
#[derive(Serialize)]
struct FunctionView<'v> {
    name: &'v str,
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    routes: Option<Vec<String>>,
    /// What it may touch beyond nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    grants: Option<&'v Grants>,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'v str>,
    /// Requests that wait for a worker.
    waiting: u32,
    /// For each shard.
    workers: Vec<WorkersView>,
}

#[derive(Serialize)]
struct WorkersView {
    shard: usize,
    /// Starting or alive.
    all: u32,
    idle: u32,
}

impl<'v> From<Listed<'v>> for FunctionView<'v> {
    fn from(listed: Listed<'v>) -> Self {
        let workers = listed.version.standings().enumerate();
        let workers = workers.map(|(shard, (all, idle))| WorkersView { shard, all, idle });
        Self {
            name: &listed.version.profile.name,
            version: listed.version.key,
            routes: listed.routes.map(|routes| routes.iter().map(ToString::to_string).collect()),
            grants: Some(listed.grants).filter(|grants| **grants != Grants::default()),
            state: listed.state,
            reason: listed.reason,
            waiting: listed.version.waiting(),
            workers: workers.collect(),
        }
    }
}

impl Control<'_> {
    /// Answers the operator; a reload is answered when it is done.
    pub(super) fn asked(&mut self, shard: u16, request: &AdminRequest) {
        let asker = Asker { shard, connection: request.connection };
        let error = |outcome: &str, message: &str| json!({ "outcome": outcome, "message": message });
        match target(&request.method, &request.path) {
            Target::Page(Page::Functions) => {
                let functions: Vec<_> = self.versions.list().map(FunctionView::from).collect();
                self.answer(asker, 200, None, &json!({ "functions": functions }));
            }
            Target::Page(Page::Usage) => {
                self.answer(asker, 200, None, &json!({ "functions": self.versions.usage() }));
            }
            Target::Page(Page::Version) => {
                let body = self.about();
                self.answer(asker, 200, None, &body);
            }
            Target::Page(Page::Reload) => {
                if !self.read_again(Some(asker)) {
                    let sentence =
                        "This daemon was started without a configuration that could be read again.";
                    self.answer(asker, 409, None, &error("not_reloadable", sentence));
                }
            }
            Target::WrongMethod { allow } => {
                let sentence = format!("This path knows {allow}.");
                self.answer(asker, 405, Some(allow), &error("method_not_allowed", &sentence));
            }
            Target::NoSuchPath => {
                let paths = PATHS.map(|(path, ..)| format!("/_/{path}"));
                let sentence = format!("There is no such path; there are /_/health, {}.", paths.join(", "));
                self.answer(asker, 404, None, &error("no_such_path", &sentence));
            }
        }
    }

    /// What this daemon is.
    fn about(&self) -> serde_json::Value {
        let path = |path: Option<&std::path::Path>| path.map(|path| path.display().to_string());
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "level": self.config.level.to_string(),
            "shards": self.shards.len(),
            "listen": self.listeners.addresses(),
            "socket": path(self.listeners.socket(Door::Unix)),
            "configuration": path(self.reloads.file()),
        })
    }

    pub(super) fn answer(
        &self,
        to: Asker,
        status: u16,
        allow: Option<&'static str>,
        body: &serde_json::Value,
    ) {
        let Some(shard) = self.shards.get(usize::from(to.shard)) else { return };
        let answer = AdminAnswer { connection: to.connection, status, allow, body: format!("{body}\n") };
        shard.tell(ToShard::ControlAnswered(Box::new(answer)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_methods() {
        for (method, path, expected) in [
            ("GET", "functions", Target::Page(Page::Functions)),
            ("GET", "usage", Target::Page(Page::Usage)),
            ("HEAD", "version", Target::Page(Page::Version)),
            ("POST", "reload", Target::Page(Page::Reload)),
            ("GET", "reload", Target::WrongMethod { allow: "POST" }),
            ("get", "functions", Target::WrongMethod { allow: "GET, HEAD" }),
            ("GET,", "functions", Target::WrongMethod { allow: "GET, HEAD" }),
            ("GET", "functions/", Target::NoSuchPath),
            ("GET", "", Target::NoSuchPath),
        ] {
            assert_eq!(target(method.as_bytes(), path.as_bytes()), expected, "{method} {path}");
        }
    }
}
