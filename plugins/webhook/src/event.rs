//! A GitHub event → a compact record.

use crate::Refusal;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// What the sender gets, and what a program behind this function would store or pass on.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event<'a> {
    /// Commits came to a branch or a tag, or it was made or deleted.
    Push(Push<'a>),
    /// GitHub tries whether anybody listens.
    Ping {
        /// The delivery's id, if there is one.
        delivery: Option<&'a str>,
    },
    /// Anything else: received, and not looked at.
    Other {
        /// What `x-github-event` says.
        kind: &'a str,
        /// The delivery's id, if there is one.
        delivery: Option<&'a str>,
    },
}

/// The record of a push.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Push<'a> {
    delivery: Option<&'a str>,
    /// `owner/name`.
    repository: Cow<'a, str>,
    #[serde(flatten)]
    target: Target,
    /// Commits before and after, as hexadecimal digits; all zeros for none.
    before: Cow<'a, str>,
    after: Cow<'a, str>,
    change: Change,
    pusher: Cow<'a, str>,
    commits: Vec<Commit<'a>>,
}

/// What was pushed to: `refs/heads/…`, `refs/tags/…`, or something else by its whole name.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Target {
    Branch(String),
    Tag(String),
    Ref(String),
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Change {
    Created,
    Deleted,
    Forced,
    Updated,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Commit<'a> {
    id: Cow<'a, str>,
    author: Cow<'a, str>,
    /// The first line of the message.
    title: String,
    /// How many files.
    added: usize,
    removed: usize,
    modified: usize,
}

impl<'a> Event<'a> {
    /// The event of this kind, from its body. Nothing of the body is copied that has not to be.
    ///
    /// # Errors
    /// 400: the body is no JSON, or not that of such an event.
    pub fn parse(kind: &'a str, delivery: Option<&'a str>, body: &'a [u8]) -> Result<Self, Refusal> {
        match kind {
            "push" => {
                let sent = serde_json::from_slice::<sent::Push<'_>>(body).map_err(|error| {
                    Refusal::new(400, format!("The body is not that of a push: {error}."))
                })?;
                Ok(Self::Push(Push::of(sent, delivery)))
            }
            _ if serde_json::from_slice::<IgnoredAny>(body).is_err() => {
                Err(Refusal::new(400, "The body is not JSON."))
            }
            "ping" => Ok(Self::Ping { delivery }),
            kind => Ok(Self::Other { kind, delivery }),
        }
    }
}

impl<'a> Push<'a> {
    fn of(sent: sent::Push<'a>, delivery: Option<&'a str>) -> Self {
        let name = sent.reference;
        let target = if let Some(branch) = name.strip_prefix("refs/heads/") {
            Target::Branch(branch.to_owned())
        } else if let Some(tag) = name.strip_prefix("refs/tags/") {
            Target::Tag(tag.to_owned())
        } else {
            Target::Ref(name.into_owned())
        };
        let change = match (sent.deleted, sent.created, sent.forced) {
            (true, _, _) => Change::Deleted,
            (_, true, _) => Change::Created,
            (_, _, true) => Change::Forced,
            (false, false, false) => Change::Updated,
        };
        Self {
            delivery,
            repository: sent.repository.full_name,
            target,
            before: sent.before,
            after: sent.after,
            change,
            pusher: sent.pusher.name,
            commits: sent.commits.into_iter().map(Commit::of).collect(),
        }
    }
}

impl<'a> Commit<'a> {
    fn of(sent: sent::Commit<'a>) -> Self {
        Self {
            id: sent.id,
            author: sent.author.name,
            title: sent.message.lines().next().unwrap_or_default().to_owned(),
            added: sent.added.len(),
            removed: sent.removed.len(),
            modified: sent.modified.len(),
        }
    }
}

/// What GitHub sends, as far as it is looked at.
mod sent {
    use super::{Cow, Deserialize, IgnoredAny};

    #[derive(Deserialize)]
    pub(super) struct Push<'a> {
        #[serde(rename = "ref", borrow)]
        pub(super) reference: Cow<'a, str>,
        #[serde(borrow)]
        pub(super) before: Cow<'a, str>,
        #[serde(borrow)]
        pub(super) after: Cow<'a, str>,
        #[serde(default)]
        pub(super) created: bool,
        #[serde(default)]
        pub(super) deleted: bool,
        #[serde(default)]
        pub(super) forced: bool,
        #[serde(borrow)]
        pub(super) repository: Repository<'a>,
        #[serde(borrow)]
        pub(super) pusher: Person<'a>,
        #[serde(borrow)]
        pub(super) commits: Vec<Commit<'a>>,
    }

    #[derive(Deserialize)]
    pub(super) struct Repository<'a> {
        #[serde(borrow)]
        pub(super) full_name: Cow<'a, str>,
    }

    #[derive(Deserialize)]
    pub(super) struct Person<'a> {
        #[serde(borrow)]
        pub(super) name: Cow<'a, str>,
    }

    #[derive(Deserialize)]
    pub(super) struct Commit<'a> {
        #[serde(borrow)]
        pub(super) id: Cow<'a, str>,
        #[serde(borrow)]
        pub(super) message: Cow<'a, str>,
        #[serde(borrow)]
        pub(super) author: Person<'a>,
        // Names of files; how many is all that is kept.
        #[serde(default)]
        pub(super) added: Vec<IgnoredAny>,
        #[serde(default)]
        pub(super) removed: Vec<IgnoredAny>,
        #[serde(default)]
        pub(super) modified: Vec<IgnoredAny>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn push() -> Value {
        json!({
            "ref": "refs/heads/main",
            "before": "a".repeat(40),
            "after": "b".repeat(40),
            "created": false, "deleted": false, "forced": false,
            "repository": {"id": 1, "name": "hairtrigger", "full_name": "ada/hairtrigger", "owner": {"name": "ada"}},
            "pusher": {"name": "ada", "email": "ada@example.org"},
            "commits": [{
                "id": "b".repeat(40),
                "message": "Say \"hello\"\n\nBecause nobody did.",
                "author": {"name": "Ada Lovelace", "email": "ada@example.org"},
                "added": ["a.rs", "b.rs"], "removed": [], "modified": ["c.rs"],
            }],
            "head_commit": {"anything": ["else"]},
        })
    }

    /// The record of a body, or the refusal.
    fn record(kind: &str, body: &Value) -> Result<Value, Refusal> {
        let body = body.to_string();
        let event = Event::parse(kind, Some("72d3162e"), body.as_bytes())?;
        Ok(serde_json::to_value(&event).expect("JSON"))
    }

    #[test]
    fn a_push_becomes_a_record() {
        let expected = json!({
            "event": "push",
            "delivery": "72d3162e",
            "repository": "ada/hairtrigger",
            "branch": "main",
            "before": "a".repeat(40),
            "after": "b".repeat(40),
            "change": "updated",
            "pusher": "ada",
            "commits": [{
                "id": "b".repeat(40), "author": "Ada Lovelace", "title": "Say \"hello\"",
                "added": 2, "removed": 0, "modified": 1,
            }],
        });
        assert_eq!(record("push", &push()), Ok(expected));
    }

    #[test]
    fn targets_and_changes_have_names() {
        for (name, key, value) in [
            ("refs/heads/fix/it", "branch", "fix/it"),
            ("refs/tags/v1.0", "tag", "v1.0"),
            ("refs/notes/commits", "ref", "refs/notes/commits"),
        ] {
            let mut body = push();
            body["ref"] = name.into();
            assert_eq!(record("push", &body).expect("a push")[key], value);
        }
        for (flag, change) in [("created", "created"), ("deleted", "deleted"), ("forced", "forced")] {
            let mut body = push();
            body[flag] = true.into();
            assert_eq!(record("push", &body).expect("a push")["change"], change);
        }
    }

    #[test]
    fn other_events_are_taken_and_named() {
        let anything = json!({"zen": "Keep it logically awesome."});
        assert_eq!(record("ping", &anything), Ok(json!({"event": "ping", "delivery": "72d3162e"})));
        let other = json!({"event": "other", "kind": "issues", "delivery": "72d3162e"});
        assert_eq!(record("issues", &anything), Ok(other));
    }

    #[test]
    fn a_body_of_another_shape_is_refused() {
        let mut body = push();
        body["commits"] = 7.into();
        let refusal = record("push", &body).expect_err("no list");
        assert!(
            refusal.sentence.starts_with("The body is not that of a push: invalid type: "),
            "{refusal:?}"
        );
        let missing = record("push", &json!({})).expect_err("nothing in it");
        assert!(missing.sentence.contains("missing field `ref`"), "{missing:?}");
        for kind in ["push", "ping", "issues"] {
            assert_eq!(Event::parse(kind, None, b"{").expect_err("no JSON").status, 400);
        }
        // Deeper than a parser's stack would bear.
        let deep = "[".repeat(1 << 20);
        assert_eq!(Event::parse("ping", None, deep.as_bytes()).expect_err("too deep").status, 400);
    }

    proptest! {
        #[test]
        fn names_come_through_whatever_is_in_them(repository in ".*", pusher in ".*", message in ".*") {
            let mut body = push();
            body["repository"]["full_name"] = repository.clone().into();
            body["pusher"]["name"] = pusher.clone().into();
            body["commits"][0]["message"] = message.clone().into();
            let found = record("push", &body).expect("a push");
            prop_assert_eq!(&found["repository"], &repository);
            prop_assert_eq!(&found["pusher"], &pusher);
            prop_assert_eq!(&found["commits"][0]["title"], message.lines().next().unwrap_or_default());
        }
    }
}
