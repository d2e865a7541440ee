//! Values for the tests: like those that caches hold, and different each time.

pub(super) use crate::random::Random;

const WORDS: &[&str] = &[
    "amber", "basin", "cedar", "delta", "ember", "fjord", "grove", "harbor", "island", "juniper",
    "kestrel", "lagoon", "meadow", "nickel", "orchid", "pepper", "quartz", "river", "saddle",
    "timber", "umbra", "velvet", "willow", "xenon", "yonder", "zephyr", "anchor", "bridge",
    "candle", "dragon", "engine", "falcon", "garden", "hammer", "insect", "jacket", "kettle",
    "ladder", "magnet", "needle", "oxygen", "pocket", "ribbon", "signal", "tunnel", "valley",
    "window", "yellow",
];
const CITIES: &[&str] = &[
    "Lisbon", "Oslo", "Nairobi", "Quito", "Hanoi", "Perth", "Turin", "Bergen", "Leeds", "Austin",
    "Kyoto", "Lima",
];
const PLANS: &[&str] = &["free", "basic", "team", "enterprise"];

fn pick<'a>(random: &mut Random, from: &[&'a str]) -> &'a str {
    from[random.below(from.len() as u64) as usize]
}

fn word(random: &mut Random) -> &'static str {
    pick(random, WORDS)
}

fn words(random: &mut Random, count: u64) -> String {
    let words: Vec<_> = (0..count).map(|_| word(random)).collect();
    words.join(" ")
}

pub(super) fn noise(random: &mut Random, len: usize) -> Vec<u8> {
    (0..len).map(|_| random.next_u64() as u8).collect()
}

/// About 300 bytes.
pub(super) fn user_json(random: &mut Random) -> Vec<u8> {
    let (first, last) = (word(random), word(random));
    let (id, city, plan) = (
        random.below(10_000_000),
        pick(random, CITIES),
        pick(random, PLANS),
    );
    let (day, hour, minute) = (1 + random.below(28), random.below(24), random.below(60));
    let (logins, credit, verified) = (
        random.below(5000),
        random.below(100_000),
        random.below(2) == 0,
    );
    let (theme, locale) = (
        pick(random, &["dark", "light", "system"]),
        pick(random, &["en-GB", "pt-PT", "nb-NO", "ja-JP"]),
    );
    format!(
        "{{\"id\":{id},\"name\":\"{first} {last}\",\"email\":\"{first}.{last}{}@example.com\",\"city\":\"{city}\",\
         \"plan\":\"{plan}\",\"created_at\":\"2024-{:02}-{day:02}T{hour:02}:{minute:02}:00Z\",\"logins\":{logins},\
         \"credit\":{credit},\"verified\":{verified},\"preferences\":{{\"theme\":\"{theme}\",\"locale\":\"{locale}\",\
         \"newsletter\":{}}},\"last_seen_ip\":\"10.{}.{}.{}\"}}",
        random.below(100), 1 + random.below(12), random.below(2) == 0,
        random.below(256), random.below(256), random.below(256),
    )
    .into_bytes()
}

/// About 700 bytes.
pub(super) fn product_json(random: &mut Random) -> Vec<u8> {
    let tags: Vec<String> = (0..4).map(|_| format!("\"{}\"", word(random))).collect();
    let offers: Vec<String> = (0..3)
        .map(|_| {
            format!(
                "{{\"seller\":\"{}-{}\",\"price\":{}.{:02},\"currency\":\"EUR\",\"in_stock\":{},\"delivery_days\":{}}}",
                word(random), word(random), random.below(900), random.below(100), random.below(2) == 0, random.below(14),
            )
        })
        .collect();
    format!(
        "{{\"sku\":\"{}-{:06}\",\"title\":\"{}\",\"description\":\"The {} of a {} with {} and {}.\",\"category\":\"{}\",\
         \"weight_grams\":{},\"dimensions\":{{\"width\":{},\"height\":{},\"depth\":{}}},\"tags\":[{}],\"rating\":{}.{},\
         \"reviews\":{},\"offers\":[{}],\"updated_at\":{},\"warehouse\":\"{}\",\"hazardous\":false,\"returnable_until_days\":30}}",
        word(random), random.below(1_000_000), words(random, 3), word(random), word(random), words(random, 2),
        words(random, 2), word(random), random.below(5000), random.below(200), random.below(200), random.below(200),
        tags.join(","), random.below(5), random.below(10), random.below(3000), offers.join(","),
        1_700_000_000 + random.below(10_000_000), pick(random, CITIES),
    )
    .into_bytes()
}

/// About 100 bytes, most of them random.
pub(super) fn session(random: &mut Random) -> Vec<u8> {
    format!(
        "sid={:016x}{:016x};uid={};exp={};csrf={:016x};role={}",
        random.next_u64(),
        random.next_u64(),
        random.below(1_000_000),
        1_700_000_000 + random.below(1_000_000),
        random.next_u64(),
        pick(random, &["user", "admin"]),
    )
    .into_bytes()
}

/// About 3 KB.
pub(super) fn html(random: &mut Random) -> Vec<u8> {
    let rows: String = (0..12)
        .map(|_| {
            format!(
                "    <li class=\"card card--compact\" data-id=\"{}\"><a class=\"card__link\" href=\"/catalog/{}/{}\">\
                 <span class=\"card__title\">{}</span><span class=\"card__price\">&euro; {}.{:02}</span></a></li>\n",
                random.below(1_000_000), word(random), word(random), words(random, 2), random.below(500), random.below(100),
            )
        })
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n  <meta charset=\"utf-8\">\n  <title>{} - Shop</title>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <link rel=\"stylesheet\" href=\"/assets/site.css\">\n  <script defer src=\"/assets/site.js\"></script>\n</head>\n\
         <body class=\"page page--listing\">\n  <header class=\"site-header\"><nav class=\"site-nav\"><a href=\"/\">Home</a>\
         <a href=\"/catalog\">Catalog</a><a href=\"/account\">Account</a><a href=\"/cart\">Cart ({})</a></nav></header>\n\
         <main>\n  <h1>{}</h1>\n  <p class=\"lead\">{}</p>\n  <ul class=\"cards\">\n{rows}  </ul>\n</main>\n\
         <footer class=\"site-footer\"><p>&copy; Example Shop. All prices include tax.</p></footer>\n</body>\n</html>\n",
        words(random, 2), random.below(20), words(random, 3), words(random, 14),
    )
    .into_bytes()
}
