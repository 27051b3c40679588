//! The control API of the running router, asked by programs that know no manners.
//!
//! Every request that the router's own OpenAPI document describes is sent in many wrong ways. None may be answered with
//! a status of 5xx, and every answer that is no success says why, in the way that the document promises.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Map, Value, json};

use crate::cases;
use crate::fixture::{Lab, PATIENCE};
use crate::outcome::Outcome;

cases![
    ;
    only_genkan:
    no_wrong_request_is_the_routers_fault,
];

/// More than a body may have.
const TOO_MUCH: usize = 3 << 20;

/// One request on its way.
#[derive(Clone, Debug, Default)]
struct Request {
    method: String,
    path: String,
    query: String,
    headers: String,
    body: Vec<u8>,
    /// It is wrong in a way that no answer but an error fits.
    is_wrong: bool,
}

impl Request {
    fn octets(&self) -> Vec<u8> {
        let Request { method, path, query, headers, body, .. } = self;
        let kind = if headers.contains("Content-Type") { "" } else { "Content-Type: application/json\r\n" };
        let mut octets = format!(
            "{method} {path}{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{kind}{headers}Content-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        octets.extend(body);
        octets
    }

    /// Whether an answer goes on until the asker has enough, if all is in order.
    fn is_endless(&self) -> bool {
        self.method == "GET" && ["/v1/capture", "/v1/trace"].contains(&self.path.as_str())
    }

    fn text(&self) -> String {
        let octets = self.octets();
        String::from_utf8_lossy(&octets[..octets.len().min(400)]).into_owned()
    }
}

/// Status and body of an answer.
fn send(lab: &Lab, request: &Request) -> (u16, String) {
    let socket = lab.router(|router| router.socket());
    let mut stream = UnixStream::connect(socket).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    // What is too much is refused before its end is read.
    let _ = stream.write_all(&request.octets());
    let mut answer = vec![0; 12];
    let begun = stream.read_exact(&mut answer);
    begun.unwrap_or_else(|error| panic!("{error}: {}", request.text()));
    if !request.is_endless() || !answer.ends_with(b" 200") {
        let _ = stream.read_to_end(&mut answer);
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no answer: {}\n{answer}", request.text())), body.to_owned())
}

/// Follows references within the document.
fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(path) => document.pointer(&path[1..]).expect("the document refers to itself only"),
        None => schema,
    }
}

/// A body as the document has it, every property given.
fn example(document: &Value, schema: &Value) -> Value {
    let schema = resolve(document, schema);
    if let Some(first) = schema["oneOf"].get(0) {
        return example(document, first);
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
    match kind {
        Some("object") => {
            let properties = schema["properties"].as_object().expect("an object has properties");
            properties.iter().map(|(name, schema)| (name.clone(), example(document, schema))).collect()
        }
        Some("array") => Value::Array(vec![example(document, &schema["items"])]),
        Some("integer") => json!(1),
        Some("boolean") => json!(true),
        _ => json!("x"),
    }
}

/// Values that hardly any property takes, and some that it may.
fn odd_values() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(-1),
        json!(0),
        json!(1.5),
        json!(65_536),
        json!(u64::MAX),
        json!(1e300),
        json!(""),
        json!("\u{0}"),
        json!("a\nb\"\\'''\"\"\"[[forward]]"),
        json!("\u{10ffff}\u{202e}ü"),
        json!("x".repeat(100_000)),
        json!("65535-1"),
        json!("0-99999999999999999999"),
        json!("255.255.255.255/99"),
        json!("9999-12-31T23:59:59+99:99"),
        json!([]),
        json!([[]]),
        json!(["udp", "tcp", "udp"]),
        json!({}),
    ]
}

/// Wrong and odd bodies around one that fits.
fn bodies(document: &Value, schema: &Value) -> Vec<(Vec<u8>, bool)> {
    let Value::Object(fits) = example(document, schema) else { panic!("every body is an object") };
    let required = resolve(document, schema)["required"].as_array().cloned().unwrap_or_default();
    let text = |object: &Map<String, Value>| serde_json::to_vec(object).expect("JSON");
    let mut bodies: Vec<(Vec<u8>, bool)> = vec![
        (Vec::new(), true),
        (b"{".to_vec(), true),
        (b"[]".to_vec(), true),
        (b"null".to_vec(), true),
        (b"\"\xff\xfe\"".to_vec(), true),
        (b"{\"name\": \"\xc3\x28\"}".to_vec(), true),
        (b"{\"to\": 1, \"to\": 2}".to_vec(), true),
        ("[".repeat(100_000).into_bytes(), true),
        (vec![b'x'; TOO_MUCH], true),
        (text(&fits), false),
    ];
    let mut foreign = fits.clone();
    foreign.insert("colour".to_owned(), json!("red"));
    bodies.push((text(&foreign), true));
    for name in fits.keys() {
        let mut less = fits.clone();
        less.remove(name);
        bodies.push((text(&less), required.contains(&json!(name))));
        for value in odd_values() {
            let mut odd = fits.clone();
            odd.insert(name.clone(), value);
            bodies.push((text(&odd), false));
        }
    }
    bodies
}

/// Wrong and odd queries for these parameters.
fn queries(parameters: &[&Value]) -> Vec<(String, bool)> {
    let mut queries = vec![(String::new(), false)];
    let in_query = parameters.iter().filter(|parameter| parameter["in"] == "query");
    for parameter in in_query {
        let name = parameter["name"].as_str().expect("a name");
        // Wrong for numbers, truth values and addresses; a word may be any.
        let is_word = parameter["schema"]["type"] == "string" && parameter["schema"]["format"].is_null();
        for value in
            ["", "-1", "1.5", "99999999999999999999", "%FF", "%", "null", "true&", "a%00b", "%F4%90%80%80"]
        {
            queries.push((format!("?{name}={value}"), !is_word && value != "true&"));
        }
        queries.push((format!("?{name}=1&{name}=2"), false));
        queries.push((format!("?{name}={}", "1".repeat(10_000)), false));
        for value in ["0", "1", "4294967295", "18446744073709551615"] {
            queries.push((format!("?{name}={value}"), false));
        }
    }
    if parameters.iter().any(|parameter| parameter["in"] == "query") {
        queries.push(("?colour=red".to_owned(), true));
    }
    queries
}

/// All that is sent for one request of the document.
fn wrong_requests(document: &Value, method: &str, path: &str, operation: &Value) -> Vec<Request> {
    let parameters: Vec<&Value> = operation["parameters"].as_array().into_iter().flatten().collect();
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    let body = match schema {
        Value::Null => Vec::new(),
        schema => serde_json::to_vec(&example(document, schema)).expect("JSON"),
    };
    let plain = Request {
        method: method.to_uppercase(),
        path: path.replace("{name}", "nobody"),
        body: body.clone(),
        ..Request::default()
    };
    let mut all = Vec::new();
    for (query, is_wrong) in queries(&parameters) {
        all.push(Request { query, is_wrong, ..plain.clone() });
    }
    if !schema.is_null() {
        for (body, is_wrong) in bodies(document, schema) {
            all.push(Request { body, is_wrong, ..plain.clone() });
        }
        for kind in ["text/plain", "application/xml", "application/json; charset=\"", "/"] {
            let headers = format!("Content-Type: {kind}\r\n");
            all.push(Request { headers, is_wrong: !kind.starts_with("application/json"), ..plain.clone() });
        }
    }
    if path.contains("{name}") {
        for name in ["%FF", "%00", "..%2f..%2fetc", "%22%5d%0a", &"x".repeat(8_000)] {
            all.push(Request { path: path.replace("{name}", name), is_wrong: true, ..plain.clone() });
        }
    }
    for parameter in parameters.iter().filter(|parameter| parameter["in"] == "header") {
        let name = parameter["name"].as_str().expect("a name");
        for value in ["yesterday", "\"", "\"-1\"", "99999999999999999999", "\"1\", \"2\"", "W/", "ü"] {
            let headers = format!("{name}: {value}\r\n");
            // The id of the last event means something in a stream only.
            all.push(Request { headers, is_wrong: name == "If-Match", ..plain.clone() });
        }
    }
    all.retain(|request| request.is_wrong || !request.is_endless());
    if path == "/v1/events" {
        for value in ["x", "-1", "99999999999999999999"] {
            let headers = format!("Accept: text/event-stream\r\nLast-Event-ID: {value}\r\n");
            all.push(Request { headers, is_wrong: true, ..plain.clone() });
        }
    }
    all
}

fn no_wrong_request_is_the_routers_fault() -> Outcome {
    let lab =
        Lab::start("[[forward]]\nname = \"web\"\nprotocol = \"tcp\"\nport = 80\nto = \"192.168.0.10\"\n");
    let get = |path: &str| Request { method: "GET".to_owned(), path: path.to_owned(), ..Request::default() };
    let (status, text) = send(&lab, &get("/v1/openapi.json"));
    assert_eq!(status, 200);
    let document: Value = serde_json::from_str(&text).expect("JSON");
    let mut sent = Vec::new();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        let operations = operations.as_object().expect("operations");
        for (method, operation) in operations {
            sent.extend(wrong_requests(&document, method, path, operation));
        }
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
            // HEAD comes with GET.
            if !operations.contains_key(&method.to_lowercase()) {
                let wrong = Request { is_wrong: true, ..get(&path.replace("{name}", "nobody")) };
                sent.push(Request { method: method.to_owned(), ..wrong });
            }
        }
    }
    for path in ["/", "//", "/v1", "/v1/forwards/", "/v1/status/..", "/%2e%2e/etc/passwd", "/v1/STATUS"] {
        sent.push(Request { is_wrong: true, ..get(path) });
    }
    assert!(sent.len() > 500, "only {} requests: is the document there?", sent.len());
    for request in &sent {
        let (status, body) = send(&lab, request);
        assert!(status < 500, "{status} {body}\n{}", request.text());
        assert!(status >= 400 || !request.is_wrong, "{status} {body}\n{}", request.text());
        if status >= 400 {
            let body: Value = serde_json::from_str(&body)
                .unwrap_or_else(|error| panic!("{status}, {error}: {body}\n{}", request.text()));
            assert!(body["code"].is_string() && body["message"].is_string(), "{body}\n{}", request.text());
        }
    }
    lab.genkan(&["status"]).expect_ok();
    let log = lab.router(|router| router.log());
    assert!(!log.contains("panicked"), "{log}");
    Ok(())
}
