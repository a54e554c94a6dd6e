//! Which names credentials have: a guess that takes more rather than less.

/// What is in the name of a credential, in lower case and without hyphens and the like.
const IN_NAMES: [&str; 12] = [
    "accesskey",
    "apikey",
    "authorization",
    "cookie",
    "credential",
    "passphrase",
    "passw",
    "privatekey",
    "secret",
    "sessid",
    "sessionid",
    "token",
];
/// What looks like one of these, but is none.
const OF_OTHER_NAMES: [&str; 3] = ["secretar", "tokenis", "tokeniz"];
/// The last words of names of credentials. Within other words these mean something else ("compass").
const LAST_WORDS: [&str; 6] = ["jwt", "pass", "pwd", "session", "sig", "signature"];

/// Whether what has this name is a credential.
pub(crate) fn is_credential(name: &[u8]) -> bool {
    let name = String::from_utf8_lossy(name);
    let letters = name.trim_end_matches(|c: char| !c.is_ascii_alphabetic());
    let last_word = letters.rsplit(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    // Of "userPass" also "Pass" is the last word.
    let hump = last_word.rfind(|c: char| c.is_ascii_uppercase()).unwrap_or_default();
    let is_last = |word: &str| LAST_WORDS.contains(&word.to_ascii_lowercase().as_str());
    let mut joined = name.to_ascii_lowercase();
    joined.retain(|c| c.is_ascii_alphanumeric());
    let joined = OF_OTHER_NAMES.iter().fold(joined, |name, other| name.replace(other, " "));
    IN_NAMES.iter().any(|part| joined.contains(part))
        || is_last(last_word)
        || is_last(&last_word[hump..])
}
