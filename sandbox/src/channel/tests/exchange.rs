//! What is sent arrives: requests, replies, their order, and what becomes of those taken back.

use std::collections::VecDeque;

use proptest::collection::vec;

use super::super::layout::{REPLY_INLINE, REQUEST_INLINE};
use super::*;
use crate::channel::ReplyKind;
use crate::limits::{MAX_HEAD, MAX_RESPONSE_HEAD, MAX_RESPONSE_HEADERS};

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// Posts, begins, and compares what the plugin would see.
fn arrives(method: &[u8], path: &[u8], query: &[u8], fields: &Fields, body: &[u8]) {
    let Pair { mut daemon, mut worker, .. } = pair();
    let mut headers = Vec::new();
    for (name, value) in fields {
        RequestView::encode_header(&mut headers, name, value);
    }
    // Every third field is a trailer.
    let trailer_count = u32::try_from(fields.len() / 3).unwrap();
    let header_count = u32::try_from(fields.len()).unwrap() - trailer_count;
    let deadline_ns = u64::MAX - 3;
    let request = RequestView {
        method,
        path,
        query,
        headers: &headers,
        header_count,
        trailer_count,
        deadline_ns,
        ..view(body)
    };
    assert_eq!(daemon.post(&request), Posted::Awake);
    assert!(worker.request_waits() && worker.claim());
    let (reader, _) = worker.parts();
    let mut scratch = Vec::new();
    let seen = reader.view(&mut scratch);
    let parts = [seen.method, seen.path, seen.query, seen.body].map(bytes);
    assert_eq!(parts, [method, path, query, body]);
    assert_eq!(bytes(seen.invocation_id), request.invocation);
    assert_eq!((seen.deadline_ns, seen.header_count), (deadline_ns, header_count));
    let given = |fields: *const hairtrigger_abi::raw::Header, count: u32| {
        // SAFETY: the view's fields live in `scratch`, as many as it says.
        let fields = unsafe { std::slice::from_raw_parts(fields, count as usize) };
        fields.iter().map(|field| (bytes(field.name), bytes(field.value))).collect::<Fields>()
    };
    let found = [given(seen.headers, seen.header_count), given(seen.trailers, seen.trailer_count)].concat();
    assert_eq!(seen.trailer_count, trailer_count);
    let lower = |(name, value): &(Vec<u8>, Vec<u8>)| (name.to_ascii_lowercase(), value.clone());
    assert_eq!(found, fields.iter().map(lower).collect::<Fields>());
}

#[test]
fn an_empty_request_arrives() {
    arrives(b"", b"", b"", &vec![], b"");
}

#[test]
fn requests_at_the_edges_of_slot_and_slab_arrive() {
    let head = (b"PUT".as_slice(), b"/a/b".as_slice(), b"q=1".as_slice());
    let edge = REQUEST_INLINE - head.0.len() - head.1.len() - head.2.len();
    let most = usize::try_from(GEOMETRY.max_request).unwrap();
    for length in [edge - 1, edge, edge + 1, most] {
        let body: Vec<u8> = (0..length).map(|at| at.to_le_bytes()[0]).collect();
        arrives(head.0, head.1, head.2, &vec![], &body);
    }
    // The longest head beside the longest body: the slab's last byte.
    arrives(b"", &vec![b'p'; 2 * MAX_HEAD], b"", &vec![], &vec![b'b'; most]);
}

#[test]
#[should_panic(expected = "the body was checked before")]
fn a_body_beyond_the_geometry_is_not_posted() {
    let body = vec![0; usize::try_from(GEOMETRY.max_request).unwrap() + 1];
    let _ = pair().daemon.post(&view(&body));
}

#[test]
fn bodies_of_replies_at_the_edges_arrive_and_one_more_byte_is_too_large() {
    let Pair { mut daemon, mut worker, .. } = pair();
    let most = usize::try_from(GEOMETRY.max_response).unwrap();
    for (length, slab) in
        [(0, false), (REPLY_INLINE - 1, false), (REPLY_INLINE, false), (REPLY_INLINE + 1, true), (most, true)]
    {
        post(&mut daemon, b"");
        assert!(worker.claim());
        assert_eq!(echo(&mut worker, length).1, slab);
        assert_eq!(take(&mut daemon), vec![b'x'; length]);
    }
    post(&mut daemon, b"");
    assert!(worker.claim());
    let (_, mut reply) = worker.parts();
    assert!(!reply.reserve(most).is_null());
    assert_eq!(reply.commit(most), OK);
    assert!(reply.reserve(1).is_null() && reply.reserve(usize::MAX).is_null());
    reply.publish(0);
    assert_eq!(daemon.take_reply().unwrap().unwrap().kind, ReplyKind::TooLarge);
}

#[test]
fn no_more_is_committed_than_was_reserved() {
    let Pair { mut daemon, mut worker, .. } = pair();
    post(&mut daemon, b"");
    assert!(worker.claim());
    let (_, mut reply) = worker.parts();
    assert_ne!(reply.commit(1), OK);
    assert!(!reply.reserve(3).is_null());
    assert_ne!(reply.commit(4), OK);
    assert_eq!(reply.commit(0), OK);
    assert_ne!(reply.commit(3), OK, "what was reserved has been committed");
    reply.publish(0);
    assert_eq!(take(&mut daemon), b"");
}

#[test]
fn statuses_and_fields_have_their_bounds() {
    let Pair { mut daemon, mut worker, .. } = pair();
    post(&mut daemon, b"");
    assert!(worker.claim());
    let (_, mut reply) = worker.parts();
    for status in [0, 199, 600, u32::MAX] {
        assert_ne!(reply.set_status(status), OK, "{status}");
    }
    assert_eq!(reply.set_status(599), OK);
    let room = MAX_RESPONSE_HEAD - 4 - 1;
    assert_ne!(reply.add_header(b"n", &vec![b'v'; room + 1]), OK);
    assert_eq!(reply.add_header(b"n", &vec![b'v'; room]), OK);
    assert_ne!(reply.add_header(b"", b""), OK, "the head is full");
    reply.publish(0);
    let reply = daemon.take_reply().unwrap().unwrap();
    assert_eq!(reply.kind, ReplyKind::Response { status: 599 });
    let fields: Vec<_> = reply.headers.collect();
    assert_eq!(fields, [(b"n".as_slice(), vec![b'v'; room].as_slice())]);

    daemon.done_with_reply();
    post(&mut daemon, b"");
    assert!(worker.claim());
    let (_, mut reply) = worker.parts();
    for _ in 0..MAX_RESPONSE_HEADERS {
        assert_eq!(reply.add_header(b"n", b"v"), OK);
    }
    assert_ne!(reply.add_header(b"n", b"v"), OK, "one field too many");
    assert_ne!(reply.add_trailer(b"n", b"v"), OK, "trailers are counted too");
    reply.publish(0);
    assert_eq!(daemon.take_reply().unwrap().unwrap().headers.count(), MAX_RESPONSE_HEADERS);
}

#[test]
fn a_reply_is_there_once_and_a_full_channel_says_so() {
    let Pair { mut daemon, mut worker, .. } = pair();
    assert!(!daemon.reply_waits() && daemon.take_reply().unwrap().is_none());
    for _ in 0..CHANNEL_DEPTH {
        post(&mut daemon, b"b");
    }
    assert_eq!(daemon.post(&view(b"b")), Posted::Full);
    assert!(!daemon.reply_waits() && daemon.take_reply().unwrap().is_none());
    assert!(worker.claim());
    echo(&mut worker, 0);
    assert_eq!(daemon.post(&view(b"b")), Posted::Full, "the reply is not taken yet");
    assert!(daemon.reply_waits());
    take(&mut daemon);
    assert!(!daemon.reply_waits() && daemon.take_reply().unwrap().is_none());
    post(&mut daemon, b"b");
    assert_eq!((daemon.under_way(), daemon.last_posted()), (CHANNEL_DEPTH, CHANNEL_DEPTH + 1));
}

/// Found by reading: a worker whose last reply lay in the slab waited for ever for the daemon to leave it.
#[test]
fn a_revocation_of_all_leaves_the_slab_of_the_reply_before() {
    let Pair { mut daemon, mut worker, .. } = pair();
    post(&mut daemon, b"1");
    assert!(worker.claim());
    assert!(echo(&mut worker, REPLY_INLINE + 1).1);
    take(&mut daemon);
    post(&mut daemon, b"2");
    assert_eq!(daemon.revoke(), Ok(0));
    post(&mut daemon, b"3");
    assert!(!worker.claim() && worker.claim());
    assert!(!worker.slab_in_use());
    assert_eq!(echo(&mut worker, 0).0, b"3");
    assert_eq!(take(&mut daemon), b"3");
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let most = usize::try_from(GEOMETRY.max_request).unwrap();
    prop_oneof![vec(any::<u8>(), 0..64), vec(any::<u8>(), 3000..5000), vec(any::<u8>(), most - 1..=most)]
}

fn field() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    (vec(any::<u8>(), 0..20), vec(any::<u8>(), 0..100))
}

#[derive(Clone, Debug)]
enum Step {
    /// With a body of this many bytes.
    Post(usize),
    /// The worker looks for a request.
    Begin,
    /// It answers the one begun, with at least this many bytes.
    Answer(usize),
    Take,
    Revoke,
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![4 => Just(4_usize), 1 => Just(REQUEST_INLINE + 1)];
    prop_oneof![
        8 => size.clone().prop_map(Step::Post),
        4 => Just(Step::Begin),
        4 => size.prop_map(Step::Answer),
        3 => Just(Step::Take),
        1 => Just(Step::Revoke),
    ]
}

/// What the channel must be like.
#[derive(Default)]
struct Model {
    /// Posted and not begun, then taken back and not yet counted as such, then begun or answered.
    waiting: VecDeque<u32>,
    revoked: u32,
    /// How many are to be taken before those taken back are counted as such.
    before: u32,
    begun: Option<u32>,
    answered: VecDeque<(u32, usize)>,
    /// Who uses the slab of requests.
    slab: Option<u32>,
    /// Whether the reply in the slab has not been taken.
    reply_in_slab: bool,
    /// Whether the worker has not looked since the last revocation.
    unnoticed: bool,
}

impl Model {
    fn kept(&self) -> u32 {
        u32::try_from(self.answered.len()).unwrap() + u32::from(self.begun.is_some())
    }

    fn under_way(&self) -> u32 {
        self.kept() + self.revoked + u32::try_from(self.waiting.len()).unwrap()
    }

    /// Those taken back count as long as something before them is under way.
    fn settle(&mut self) {
        if self.before == 0 {
            self.revoked = 0;
        }
    }
}

proptest! {
    #[test]
    fn requests_arrive_as_posted(
        method in vec(any::<u8>(), 0..16),
        path in vec(any::<u8>(), 0..3000),
        query in vec(any::<u8>(), 0..3000),
        fields in vec(field(), 0..20),
        body in body(),
    ) {
        arrives(&method, &path, &query, &fields, &body);
    }

    #[test]
    fn replies_arrive_as_written(
        status in 200..600_u32,
        result in prop_oneof![Just(0), any::<i32>()],
        fields in vec(field(), 0..10),
        chunks in vec(vec(any::<u8>(), 0..1500), 0..20),
        start in start(),
    ) {
        let Pair { mut daemon, mut worker, .. } = pair_at(start);
        post(&mut daemon, b"");
        prop_assert!(worker.claim());
        let (_, mut reply) = worker.parts();
        prop_assert_eq!(reply.set_status(status), OK);
        for (name, value) in &fields {
            prop_assert_eq!(reply.add_trailer(value, name), OK);
            prop_assert_eq!(reply.add_header(name, value), OK);
        }
        for chunk in &chunks {
            let to = reply.reserve(chunk.len() + 7);
            prop_assert!(!to.is_null());
            // SAFETY: `reserve` has given this much room and more.
            unsafe { std::ptr::copy_nonoverlapping(chunk.as_ptr(), to, chunk.len()) };
            prop_assert_eq!(reply.commit(chunk.len()), OK);
        }
        let used_slab = reply.publish(result);
        worker.published(used_slab);
        prop_assert!(daemon.reply_waits());
        let reply = daemon.take_reply().unwrap().unwrap();
        let expected = match result {
            0 => ReplyKind::Response { status: u16::try_from(status).unwrap() },
            code => ReplyKind::FunctionError(code),
        };
        prop_assert_eq!(reply.kind, expected);
        let found: Fields = reply.headers.map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
        prop_assert_eq!(&found, &fields);
        let found: Fields = reply.trailers.map(|(n, v)| (v.to_vec(), n.to_vec())).collect();
        prop_assert_eq!(found, fields);
        let mut body = Vec::new();
        reply.body.copy_to(&mut body);
        prop_assert_eq!(body, chunks.concat());
    }

    /// Everything posted is answered once, in order, or taken back once, wherever the numbers begin.
    #[test]
    fn the_channel_is_its_model(start in start(), steps in vec(step(), 0..400)) {
        let Pair { mut daemon, mut worker, .. } = pair_at(start);
        let mut model = Model::default();
        let mut next = 0_u32;
        for step in steps {
            match step {
                Step::Post(size) => {
                    let large = size > REQUEST_INLINE;
                    let full = model.under_way() == CHANNEL_DEPTH || (large && model.slab.is_some());
                    let mut body = next.to_ne_bytes().to_vec();
                    body.resize(size, 0);
                    let posted = daemon.post(&view(&body));
                    prop_assert_eq!(posted, if full { Posted::Full } else { Posted::Awake });
                    if !full {
                        model.waiting.push_back(next);
                        if large {
                            model.slab = Some(next);
                        }
                        next += 1;
                    }
                }
                Step::Begin => {
                    if model.begun.is_some() {
                        continue;
                    }
                    // The first try only finds out about a revocation.
                    let found = worker.request_waits() && (worker.claim() || (worker.request_waits() && worker.claim()));
                    prop_assert_eq!(found, !model.waiting.is_empty());
                    model.unnoticed = false;
                    model.begun = model.waiting.pop_front();
                }
                Step::Answer(size) => {
                    let Some(id) = model.begun else { continue };
                    prop_assert_eq!(worker.slab_in_use(), model.reply_in_slab);
                    if model.reply_in_slab {
                        continue;
                    }
                    let (body, used_slab) = echo(&mut worker, size);
                    prop_assert_eq!(&body[..4], id.to_ne_bytes());
                    model.begun = None;
                    model.reply_in_slab = used_slab;
                    model.answered.push_back((id, size.max(body.len())));
                }
                Step::Take => match model.answered.pop_front() {
                    None => prop_assert!(!daemon.reply_waits() && daemon.take_reply().unwrap().is_none()),
                    Some((id, length)) => {
                        prop_assert!(daemon.reply_waits());
                        let body = take(&mut daemon);
                        prop_assert_eq!((&body[..4], body.len()), (&id.to_ne_bytes()[..], length));
                        if model.slab == Some(id) {
                            model.slab = None;
                        }
                        model.reply_in_slab &= !model.answered.is_empty();
                        model.before = model.before.saturating_sub(1);
                        model.settle();
                    }
                },
                Step::Revoke => {
                    let kept = daemon.revoke();
                    // A revocation is not followed by another before the worker has noticed it and what was
                    // begun before it is answered.
                    if model.waiting.is_empty() || model.revoked > 0 || model.unnoticed {
                        prop_assert_eq!(kept, Ok(model.under_way()));
                        continue;
                    }
                    prop_assert_eq!(kept, Ok(model.kept()));
                    if model.slab.is_some_and(|id| model.waiting.contains(&id)) {
                        model.slab = None;
                    }
                    model.revoked = u32::try_from(model.waiting.len()).unwrap();
                    model.waiting.clear();
                    model.unnoticed = true;
                    model.before = model.kept();
                    model.settle();
                }
            }
            prop_assert_eq!(daemon.under_way(), model.under_way());
        }
    }

    /// However many were begun, exactly the others are taken back.
    #[test]
    fn a_revocation_takes_back_what_was_not_begun(
        start in start(),
        posted in 1..=CHANNEL_DEPTH,
        begun in 0..=CHANNEL_DEPTH,
        taken in 0..=CHANNEL_DEPTH,
    ) {
        let Pair { mut daemon, mut worker, .. } = pair_at(start);
        let (begun, taken) = (begun.min(posted), taken.min(begun).min(posted));
        for id in 0..posted {
            post(&mut daemon, &id.to_ne_bytes());
        }
        for _ in 0..begun {
            prop_assert!(worker.claim());
            echo(&mut worker, 0);
        }
        for id in 0..taken {
            prop_assert_eq!(take(&mut daemon), id.to_ne_bytes());
        }
        prop_assert_eq!(daemon.revoke(), Ok(begun - taken));
        prop_assert_eq!(daemon.begun(), start.wrapping_add(begun));
        for id in taken..begun {
            prop_assert_eq!(take(&mut daemon), id.to_ne_bytes());
        }
        prop_assert_eq!(daemon.under_way(), 0);
        prop_assert!(!worker.request_waits() || !worker.claim());
        prop_assert!(!worker.request_waits());
        post(&mut daemon, b"after");
        prop_assert!(worker.claim());
        prop_assert_eq!(echo(&mut worker, 0).0, b"after");
        prop_assert_eq!(take(&mut daemon), b"after");
    }
}
