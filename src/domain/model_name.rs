//! Model names as people and clouds write them, and as the makers of the models do, by whom they are priced.

use std::borrow::Cow;

/// The name that the model's maker gives to it, where `name` is another way to write it:
///
/// - in small letters, without what stands before the last slash (`openai/`, `models/`, `accounts/fireworks/models/`);
/// - without the region and the vendor that Amazon Bedrock puts in front (`us.anthropic.`), and without its revision
///   (`-v1:0`); a revision of Vertex AI is one of the maker (`@20250514` is `-20250514`);
/// - `claude-opus-4.1` is `claude-opus-4-1`, while `gpt-5-6` and `gemini-2-5-flash` are `gpt-5.6` and
///   `gemini-2.5-flash`; dates (`gpt-5-2025-08-07`) are no versions.
#[must_use]
pub fn canonical(name: &str) -> Cow<'_, str> {
    let last = name.rsplit('/').next().unwrap_or(name);
    let bare = without_cloud(last);
    let is_small = !bare.bytes().any(|byte| byte.is_ascii_uppercase());
    let bare = if is_small { Cow::Borrowed(bare) } else { Cow::Owned(bare.to_ascii_lowercase()) };
    if bare.starts_with("claude") && bare.contains(['.', '@']) {
        return Cow::Owned(bare.replace(['.', '@'], "-"));
    }
    if ["gpt-", "gemini-"].iter().any(|maker| bare.starts_with(maker)) {
        return match version_dash(&bare) {
            Some(at) => {
                let mut dotted = bare.into_owned();
                dotted.replace_range(at..=at, ".");
                Cow::Owned(dotted)
            }
            None => bare,
        };
    }
    bare
}

/// `us.anthropic.claude-opus-4-1-20250805-v1:0` → `claude-opus-4-1-20250805`.
fn without_cloud(name: &str) -> &str {
    const VENDORS: [&str; 8] =
        ["anthropic.", "amazon.", "openai.", "google.", "meta.", "mistral.", "cohere.", "deepseek."];
    // By the dots, of which most names have none or one: every answer comes here.
    let behind = name.match_indices('.').find_map(|(dot, _)| {
        let (before, rest) = name.split_at_checked(dot + 1)?;
        let region = VENDORS.iter().find_map(|vendor| before.strip_suffix(vendor))?;
        let is_region =
            region.is_empty() || (region.ends_with('.') && !region.contains('-')) || region == "us-gov.";
        is_region.then_some(rest)
    });
    let Some(rest) = behind else { return name };
    let unversioned = rest.rsplit_once(':').map_or(rest, |(before, _)| before);
    match unversioned.rsplit_once("-v") {
        Some((before, number)) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => before,
        _ => unversioned,
    }
}

/// Where the first dash between two numbers of one digit stands, the second of which ends there.
fn version_dash(name: &str) -> Option<usize> {
    let bytes = name.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let ends = |at: usize| matches!(bytes.get(at), None | Some(b'-'));
    let begins = |at: usize| at == 0 || bytes.get(at - 1) == Some(&b'-');
    (1..bytes.len()).find(|&at| {
        bytes.get(at) == Some(&b'-') && digit(at - 1) && begins(at - 1) && digit(at + 1) && ends(at + 2)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_has_one_name_however_it_is_written() {
        for (written, expected) in [
            ("openai/gpt-4o-mini", "gpt-4o-mini"),
            ("openrouter/openai/GPT-4o", "gpt-4o"),
            ("us.anthropic.claude-opus-4-1-v1:0", "claude-opus-4-1"),
            ("us.anthropic.claude-opus-4-1-20250805-v1:0", "claude-opus-4-1-20250805"),
            ("anthropic.claude-3-5-haiku-20241022-v1:0", "claude-3-5-haiku-20241022"),
            ("us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5-20250929"),
            ("global.anthropic.claude-opus-5-5", "claude-opus-5-5"),
            ("arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-opus-5", "claude-opus-5"),
            ("anthropic/claude-opus-4.1", "claude-opus-4-1"),
            ("claude-opus-4@20250514", "claude-opus-4-20250514"),
            ("claude-3.5-haiku", "claude-3-5-haiku"),
            ("google/gemini-2.5-flash", "gemini-2.5-flash"),
            ("models/gemini-2-5-flash-lite", "gemini-2.5-flash-lite"),
            ("publishers/google/models/gemini-2.5-pro-preview-05-06", "gemini-2.5-pro-preview-05-06"),
            ("openai.gpt-5-6-sol", "gpt-5.6-sol"),
            ("gpt-4-1-mini", "gpt-4.1-mini"),
            ("gpt-5-2025-08-07", "gpt-5-2025-08-07"),
            ("gpt-4-0613", "gpt-4-0613"),
            ("gpt-4-1106-preview", "gpt-4-1106-preview"),
            ("gpt-4o-2024-08-06", "gpt-4o-2024-08-06"),
            ("text-embedding-3-small", "text-embedding-3-small"),
            ("llama3.2:latest", "llama3.2:latest"),
            ("my.anthropic-like", "my.anthropic-like"),
            ("", ""),
        ] {
            assert_eq!(canonical(written), expected, "{written}");
            assert_eq!(canonical(expected), expected, "{written}: its own name");
        }
    }
}
