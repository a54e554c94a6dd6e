//! What a URL may hold beside scheme, host, port and path gets out of the config in no way.

use std::path::Path;

use super::schema::Shape;
use super::{Config, Draft, environment};
use crate::error::Error;
use crate::report;

/// Ways to write a URL with something in it that nobody may see: `hunter2`.
const URLS: &[&str] = &[
    "https://u:hunter2@rt.example.org/",
    "https://hunter2@rt.example.org",
    "HTTPS://U:hunter2@RT.EXAMPLE.ORG/",
    "https://u:hunter2@[::1]:8443/rt",
    "https://u:hunter2 x@rt.example.org/",
    "https:u:hunter2@rt.example.org",
    "https:\\\\u:hunter2@rt.example.org",
    "https://u:hunter2",
    "https://rt.example.org:hunter2/",
    "//u:hunter2@rt.example.org/",
    "u:hunter2@rt.example.org",
    "u:hunter2@rt.example.org:8443/rt",
    "hunter2@rt.example.org",
    "https://rt.example.org/#hunter2",
    "https://rt.example.org/?token=hunter2",
    "https://rt.example.org?hunter2",
    "HTTPS://RT.EXAMPLE.ORG/#hunter2",
    "  https://rt.example.org/#hunter2  ",
    "rt.example.org/?token=hunter2",
    "rt.example.org/#hunter2",
    "localhost:8080/?hunter2",
    "https://u%3Ahunter2%40rt.example.org/",
    "https://u:hunter2%40rt.example.org/",
    "u%3Ahunter2%40rt.example.org",
    "https://rt example.org/%3Fhunter2",
    "ftp://u:hunter2@rt.example.org/",
    "ftp://rt.example.org/?hunter2",
    "ftp://rt.example.org/#hunter2",
    "ftp://rt.example.org/%23hunter2",
    "mailto:hunter2@rt.example.org",
    "http://[::1/?hunter2",
];

/// What only the name of its setting tells to be a URL.
const BARE: &[&str] = &["u:hunter2", "rt.example.org:hunter2", "rt.example.org/ #hunter2"];

/// Files with a URL, `{}`, where one is expected, and something wrong: the URL, or what is beside it.
const EXPECTED: &[&str] = &[
    "[backends.a]\nplugin = 'rt'\nendpoint = {}\n",
    "[backends.a]\nplugin = 'rt'\nendpoint = {}\nconcurrency = 'many'\n",
    "[backends.a]\nplugin = 'rt'\nendpoint = {}\nconcurrency = 0\n",
    "[backends.a]\nplugin = 'rt'\nendpoint = {}\nconcurency = 1\n",
    "[backends.a]\nplugin = 'rt'\nendpoint = {}\n[limits]\nconcurrency = 0\n",
    "[backends.a]\nendpoint = {}\n",
    "[backends.a]\nplugin = 1\nendpoint = {}\n",
    "backends = { a = { plugin = 'rt', endpoint = {}, concurrency = 0 } }\n",
    "backends.a = { plugin = 1, endpoint = {} }\n",
    "backends = [{ endpoint = {} }]\n",
    "[backends.a]\nplugin = 'rt'\nendpoint = [{}]\n",
    "[backends.a]\nplugin = 'rt'\nendpoint = { url = {} }\n",
    "[backends.a]\nplugin = 'rt'\nendpoint = 'https://x.org'\nallow_origins = ['https://y.org', {}]\n",
    "[backends.a]\nplugin = 'rt'\nendpoint = 'https://x.org'\nallow_origins = {}\n",
    "[backends.a]\nplugin = 'rt'\nendpoint = 'https://x.org'\nallow_origins = [[{}]]\n",
    "[backends.a]\nplugin = 'rt'\nendpoint = 'https://x.org'\nproxy = {}\nconcurrency = 0\n",
    // This one can be read: a proxy may have a password, which Debug doesn't show.
    "[backends.a]\nplugin = 'rt'\nendpoint = 'https://x.org'\nproxy = {}\n",
    "[backends.a]\nplugin = 'rt'\nendpoint = 'https://x.org'\nproxy = [{}]\n",
    "[argus]\ntoken = 't'\nurl = {}\ninterval_seconds = 0\n",
    "[argus]\ntoken = 't'\nurl = 'https://x.org'\nfrontend_url = {}\ninterval_seconds = 0\n",
    "[argus]\nurl = {}\n",
    // The syntax is broken: nothing tells a value from anything else.
    "[backends.a]\nplugin = 'rt'\nendpoint = {}\nconcurrency =\n",
    "[backends.a]\nplugin = 'rt'\nendpoint = {}\n[limits\n",
    "[backends.a]\nplugin = 'rt'\nendpoint = {}\nproxy = '''\n",
    "[backends.a]\nplugin = 'rt'\nendpoint = {} x\n",
    "[backends.a]\nplugin = 'rt'\nallow_origins = [\n{},\n{}\n",
    "[backends.a]\nplugin = 'rt'\nendpoint =\n{}\n",
    "[backends.{}]\nplugin = 'rt'\nendpoint =\n",
    "{} = 1\n{} = \n",
];

/// Files with a URL where none is expected.
const MISPLACED: &[&str] = &[
    "default_backend = {}\n[backends.a]\nplugin = 'rt'\nendpoint = 'https://x.org'\n",
    "plugin_dirs = {}\n",
    "plugin_dirs = [{}, 1]\n",
    "signatures = {}\n",
    "limits = {}\n",
    "[limits]\nconcurrency = {}\n",
    "[trusted_keys.k]\nkey = {}\nplugins = ['a']\n",
    "[trusted_keys.k]\nkey = 'x'\nplugins = [{}]\n",
    "[serve]\nlisten = {}\n",
    "[serve.tokens.a]\nsha256 = {}\nscopes = []\n",
    "[serve.tokens.a]\ntoken = {}\nscopes = [1]\n",
    "[serve.tokens.a]\ntoken = { env = {} }\nscopes = ['all']\n",
    "[serve.tokens.a]\ntoken = 't'\nscopes = [{}]\n",
    "[queue]\npath = {}\nkeep_days = 0\n",
    "[argus]\ntoken = 't'\nurl = 'https://x.org'\nbackend = {}\n",
    "[argus]\ntoken = 't'\nurl = 'https://x.org'\nfilter = {}\ninterval_seconds = 0\n",
    "[backends.a]\nplugin = {}\nendpoint = 'https://x.org'\nconcurrency = 0\n",
    "[backends.a]\nplugin = 'rt'\nendpont = {}\n",
    "[backends.a]\nplugin = 'rt'\nENDPOINT = {}\n",
    "[backends.a]\nplugin = 'rt'\nendpoint = 'https://x.org'\nisolation = {}\n",
    "[backends.a]\nplugin = 'rt'\nendpoint = 'https://x.org'\nlook_first = {}\n",
    "[backends.a]\nplugin = 'rt'\nendpoint = 'https://x.org'\nsha256 = {}\n",
    "[backends.a]\nplugin = 'rt'\nendpoint = 'https://x.org'\ninformation = {}\n",
    "[backends.a]\nplugin = 'rt'\nendpoint = 'https://x.org'\nrequests_per_second = {}\n",
    "[backends.a]\nplugin = 'rt'\nendpoint = 'https://x.org'\npermissions = { network = {} }\n",
    "[backends.a]\nplugin = 'rt'\nendpoint = 'https://x.org'\ntemplate = {}\n",
    "[backends.a]\nplugin = 'rt'\nendpoint = 'https://x.org'\ncall_timeout_seconds = {}\n",
    "[backends.a]\nplugin = 'rt'\nendpoint = 'https://x.org'\nconcurrency = 0\n\
     [backends.a.information]\nlinks = ['x', { deep = [{}] }]\n",
    "[backends.a.information]\nlinks = ['x', {}]\n",
];

/// The four ways to write a text in TOML.
fn quotings(text: &str) -> [String; 4] {
    let escaped = text.replace('\\', "\\\\");
    [
        format!("\"{escaped}\""),
        format!("'{text}'"),
        format!("\"\"\"\n{escaped}\\\n\"\"\""),
        format!("'''\n{text}\n'''"),
    ]
}

fn check(toml: &str) {
    match Config::parse(Path::new("c.toml"), toml) {
        Ok(config) => assert!(!format!("{config:?}").contains("hunter2"), "{toml}\n{config:?}"),
        Err(error) => {
            assert!(!shown(&error).contains("hunter2"), "{toml}\n{}", shown(&error));
            for error in error.each() {
                let snippet = error.snippet.as_ref().unwrap();
                assert_eq!(snippet.text.len(), toml.len(), "the span still fits: {toml}");
                assert!(snippet.text.get(snippet.span.clone()).is_some(), "{toml}");
            }
        }
    }
}

/// All that anybody sees of an error.
fn shown(error: &Error) -> String {
    format!("{error:?}\n{}", report::text(error))
}

#[test]
fn no_url_of_the_file_shows_credentials_a_query_or_a_fragment() {
    for url in URLS.iter().chain(BARE) {
        for quoted in quotings(url) {
            EXPECTED.iter().for_each(|file| check(&file.replace("{}", &quoted)));
        }
    }
    for url in URLS {
        for quoted in quotings(url) {
            MISPLACED.iter().for_each(|file| check(&file.replace("{}", &quoted)));
        }
        // Keys are quoted on one line only.
        for quoted in &quotings(url)[..2] {
            check(&format!("[backends.a]\nplugin = 'rt'\n{quoted} = 1\n"));
            check(&format!("[backends.a]\nallow_origins = {{ {quoted} = 1 }}\n"));
        }
    }
}

#[test]
fn arguss_own_endpoint_shows_no_credentials_query_or_fragment() {
    for url in URLS.iter().chain(BARE) {
        let config = environment::load(|name| {
            let value = match name {
                "TICKET_PLUGIN" => "rt",
                "TICKET_ENDPOINT" => url,
                _ => "{}",
            };
            Some(value.to_owned())
        });
        match config.map(Draft::whole).transpose() {
            Ok(config) => assert!(!format!("{config:?}").contains("hunter2"), "{config:?}"),
            Err(error) => assert!(!shown(&error).contains("hunter2"), "{}", shown(&error)),
        }
    }
}

#[test]
fn what_can_be_shown_of_a_file_is_shown() {
    let shows = |toml: &str, text: &str| {
        let error = Config::parse(Path::new("c.toml"), toml).unwrap_err();
        assert!(report::text(&error).contains(text), "{}", report::text(&error));
    };
    let backend = |rest: &str| format!("[backends.a]\nplugin = 'rt'\n{rest}\n");
    for url in ["rt.example.org", "localhost:8080", "ftp://rt.example.org/rt/", "bücher.example"] {
        shows(&backend(&format!("endpoint = '{url}'")), &format!("endpoint = '{url}'"));
        shows(&backend(&format!("endpoint = '{url}'")), &format!("endpoint {url:?} "));
    }
    shows(&backend("endpoint = 'http://[::1]:80/'\nconcurrency = 0"), "'http://[::1]:80/'");
    let inline = "backends.a = { plugin = 'rt', secret = { token = 'x' } }";
    shows(inline, "`endpoint` is missing");
    shows(&backend("endpoint = 'https://x.org\nsecret = 'hunter2'"), "endpoint = '*************\n");
}

#[test]
fn a_broken_file_shows_the_name_of_every_setting() {
    let file = Shape::of_file();
    assert!(file.names().len() > 50, "{:?}", file.names());
    for name in file.names() {
        let error = Config::parse(Path::new("c.toml"), &format!("{name} = hunter2\n")).unwrap_err();
        assert_eq!(&*error.snippet.unwrap().text, format!("{name} = *******\n"));
    }
}
