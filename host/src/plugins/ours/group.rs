//! Whether a group is a user's own, such as Debian makes one for each user.

use std::fs;

/// Whether the group's only member is the user `owner`, as far as this machine's files tell.
pub(super) fn is_private(owner: u32, group: u32) -> bool {
    let read = |file| fs::read(file).map(|text| String::from_utf8_lossy(&text).into_owned());
    match (read("/etc/passwd"), read("/etc/group")) {
        (Ok(users), Ok(groups)) => is_private_in(&users, &groups, owner, group),
        _ => false,
    }
}

/// Whether /etc/passwd and /etc/group, whose texts these are, say that a group has its owner's name and no other
/// member. Users and groups that lie elsewhere, such as in LDAP, are not known, so their groups are not private.
fn is_private_in(users: &str, groups: &str, owner: u32, group: u32) -> bool {
    let has =
        |field: Option<&&str>, number: u32| field.is_some_and(|field| field.parse() == Ok(number));
    let users: Vec<Vec<&str>> = users.lines().map(|line| line.split(':').collect()).collect();
    let groups: Vec<Vec<&str>> = groups.lines().map(|line| line.split(':').collect()).collect();
    // Lines that begin with a sign bring in users of NIS, whoever these are.
    let elsewhere = users.iter().chain(&groups).any(|line| line[0].starts_with(['+', '-']));
    let names: Vec<&str> =
        users.iter().filter(|user| has(user.get(2), owner)).map(|user| user[0]).collect();
    let shared = users.iter().any(|user| has(user.get(3), group) && !has(user.get(2), owner));
    let mut of_that_number = groups.iter().filter(|line| has(line.get(2), group)).peekable();
    let is_own = |line: &Vec<&str>| {
        let members = line.get(3).into_iter().flat_map(|members| members.split(','));
        let mut members = members.map(str::trim).filter(|member| !member.is_empty());
        names.contains(&line[0]) && members.all(|member| names.contains(&member))
    };
    !elsewhere && !shared && of_that_number.peek().is_some() && of_that_number.all(is_own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_private_by_its_name_and_members_and_not_by_its_number() {
        const USERS: &str =
            "root:x:0:0::/:/bin/sh\nada:x:1000:1001::/:/bin/sh\nbob:x:1001:1000::/:/bin/sh\n";
        for (groups, more_users, private, why) in [
            ("ada:x:1001:", "", true, "as Debian makes it"),
            ("ada:x:1001:ada", "", true, "its owner is its member"),
            ("ada:x:1001:ada,bob", "", false, "another is its member"),
            ("ada:x:1001:", "eve:x:1002:1001::/:/bin/sh", false, "it is another's first group"),
            ("staff:x:1001:", "", false, "it has another name"),
            ("ada:x:1000:", "", false, "the group of that number is not there"),
            ("ada:x:1001:\nstaff:x:1001:bob", "", false, "another group has the same number"),
            ("ada:x:1001:\n+:::", "", false, "NIS may know more members"),
            ("ada:x:1001", "+@staff::::::", false, "NIS may know more users"),
            ("", "", false, "it lies in no file"),
        ] {
            let users = format!("{USERS}{more_users}");
            assert_eq!(is_private_in(&users, groups, 1000, 1001), private, "{why}");
        }
        // A group that has its owner's number by chance.
        assert!(!is_private_in(USERS, "staff:x:1000:ada", 1000, 1000));
        assert!(is_private_in(USERS, "root:x:0:", 0, 0));
        assert!(!is_private_in(USERS, "eve:x:5:", 5, 5), "its owner lies in no file");
    }
}
