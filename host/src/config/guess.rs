//! Which name or word was meant by one that isn't there.

use super::schema::{Kind, Setting, Word};

/// The nearest of these to `text`, if a third of it at most is different.
pub(crate) fn nearest<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let text = text.to_lowercase().replace('-', "_");
    let distance = |name: &str| strsim::osa_distance(&text, &name.replace('-', "_"));
    // One that is much longer differs by more than that, however much work it were to count by how much.
    let near = names.filter(|name| text.len() <= 8 * name.len());
    let near = near.map(|name| (distance(name), name));
    near.filter(|(distance, name)| distance * 3 <= name.len()).min().map(|(_, name)| name)
}

/// The setting that seems to be meant by the name of none.
pub(super) fn setting<'a>(name: &str, settings: &'a [Setting]) -> Option<&'a Setting> {
    let nearest = nearest(name, settings.iter().map(|setting| setting.name.as_str()));
    settings.iter().find(|setting| Some(setting.name.as_str()) == nearest)
}

/// The word that a text is or seems to mean.
pub(super) fn word<'a>(text: &str, words: &'a [Word]) -> Option<&'a str> {
    nearest(text, words.iter().map(|word| word.text.as_str()))
}

/// As [`setting`], if what it takes can be no secret, so that the value under the wrong name may be shown, too.
pub(super) fn harmless<'a>(name: &str, settings: &'a [Setting]) -> Option<&'a Setting> {
    setting(name, settings).filter(|setting| {
        matches!(
            setting.shape.kind,
            Kind::Whole { .. } | Kind::Number { .. } | Kind::Flag | Kind::Word(_)
        )
    })
}
