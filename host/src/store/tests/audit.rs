//! Who did what is kept with it.

use super::*;

over_both! {
    an_order_is_kept_with_who_gave_it_and_one_that_is_refused_is_not
    the_newest_deeds_come_first_page_by_page_and_old_ones_go
}

async fn an_order_is_kept_with_who_gave_it_and_one_that_is_refused_is_not(place: Place) {
    let store = place.open().await;
    let id = accept(&store, new("a")).await.job.id;
    store.order(id, Order::Cancel, policy(), &by()).await.unwrap();
    store.order(id, Order::Cancel, policy(), &by()).await.unwrap_err();
    let other = By { who: "noc\0".to_owned(), way: Way::Console };
    store.order(id, Order::Retry, policy(), &other).await.unwrap();
    let ticket = Ticket { url: "https://t.org/1".to_owned(), ..Ticket::default() };
    store.adopt(id, ticket, &by()).await.unwrap();
    store.add_update(id, Action::Close, "planned".to_owned(), policy(), &by()).await.unwrap();
    let of = |ticket| Entries { ticket, most: 10, ..Entries::default() };
    let told = |entries: Vec<Entry>| -> Vec<String> {
        let told = |e: Entry| format!("{} {} {} {:?} {}", e.who, e.way, e.what, e.ticket, e.detail);
        entries.into_iter().map(told).collect()
    };
    let all = told(store.deeds(&of(None)).await.unwrap());
    assert_eq!(
        all,
        [
            format!("alice cli close Some({id}) planned"),
            format!("alice cli adopt Some({id}) https://t.org/1"),
            format!("noc console retry Some({id}) it was cancelled"),
            format!("alice cli cancel Some({id}) it was queued"),
        ]
    );
    assert_eq!(told(store.deeds(&of(Some(id))).await.unwrap()), all);
    assert_eq!(store.deeds(&of(Some(id + 1))).await.unwrap(), []);
}

async fn the_newest_deeds_come_first_page_by_page_and_old_ones_go(place: Place) {
    let store = place.open().await;
    let keep = async |detail: &str| {
        let deed = Deed { by: by(), what: "login", ticket: None, detail: detail.to_owned() };
        store.keep_deed(deed).await.unwrap();
    };
    for detail in ["1", "2", "3"] {
        keep(detail).await;
    }
    let page = async |before| {
        let entries =
            store.deeds(&Entries { before, most: 2, ..Entries::default() }).await.unwrap();
        entries.into_iter().map(|entry| (entry.id, entry.detail)).collect::<Vec<_>>()
    };
    let first = page(None).await;
    let details = |page: &[(i64, String)]| {
        page.iter().map(|(_, detail)| detail.clone()).collect::<Vec<_>>().concat()
    };
    assert_eq!(details(&first), "32");
    assert_eq!(details(&page(Some(first[1].0)).await), "1");
    // As if a hundred thousand had come since.
    place.sql("UPDATE audit SET id = id - 100000");
    keep(&"x".repeat(9000)).await;
    let kept = page(None).await;
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert!(kept[0].1.len() < 8300 && kept[0].1.ends_with("more)"), "{}", kept[0].1.len());
}
