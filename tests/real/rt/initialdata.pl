# The users, queues, custom fields and rights that the tests find in a fresh RT; up.sh loads it beside RT's own core data.

# Without it RT would store the UTF-8 bytes of a non-ASCII text as so many Latin-1 characters.
use utf8;

sub user {
    my ($name, $password, %more) = @_;
    return { Name => $name, Password => $password, EmailAddress => "$name\@example.org", Privileged => 1, %more };
}

our @Users = (
    # The user that creates tickets; its rights are at the end.
    user('argus', 'argus-password'),
    # Logs in and has no right at all.
    user('norights', 'norights-password'),
    # Sees General and creates nothing there.
    user('seeonly', 'seeonly-password'),
    # Creates tickets in General; sees neither the queue nor the ticket.
    user('createonly', 'createonly-password'),
    # Creates tickets in General and may not set a custom field.
    user('nocf', 'nocf-password'),
    # A password with a colon and a character outside Latin-1.
    user('utf8', 'pä:ss€wörd'),
    # A password that is not ASCII and fits in Latin-1.
    user('latin1', 'pässwörd'),
    # Sees RT's "self service" pages only.
    user('selfservice', 'selfservice-password', Privileged => 0),
);

sub queue {
    my ($name, $description, %more) = @_;
    return { Name => $name, Description => $description, CorrespondAddress => '', CommentAddress => '', %more };
}

# General is one of RT's own.
our @Queues = (
    queue('NOC',           'Network operations; a custom field is mandatory'),
    queue('Drift og Nett', 'A name with spaces'),
    queue('Nett ÆØÅ',      'A name that is not ASCII'),
    queue('Kø/Æøå',        'A name with a slash that is not ASCII'),
    queue('100% #1?',      'A name of characters that mean something in a URL'),
    queue('Hidden',        'Nobody but root may see it'),
    queue('Closed',        'A disabled queue', Disabled => 1),
);

sub custom_field {
    my ($name, $type, $queues, %more) = @_;
    return { Name => $name, Type => $type, LookupType => 'RT::Queue-RT::Ticket', Queue => $queues, %more };
}

our @CustomFields = (
    custom_field('Severity',   'FreeformSingle', ['General', 'NOC']),
    custom_field('Start Time', 'DateTimeSingle', ['General', 'NOC']),
    custom_field('End Time',   'DateTimeSingle', ['General', 'NOC']),
    custom_field('Location',   'SelectSingle',   ['General', 'NOC'],
        Values => [ { Name => 'Trondheim', SortOrder => 1 }, { Name => 'Oslo', SortOrder => 2 } ]),
    custom_field('Address',    'IPAddressSingle', ['General']),
    custom_field('Digits',     'FreeformSingle', ['General'], Pattern => '^\d+$'),
    custom_field('Must',       'FreeformSingle', ['NOC'],     Pattern => '(?#Mandatory).'),
);

sub rights {
    my ($user, $queues, @rights) = @_;
    return map { my $queue = $_; map { { UserId => $user, Queue => $queue, Right => $_ } } @rights } @$queues;
}

our @ACL = (
    rights('argus', [ 'General', map { $_->{Name} } grep { $_->{Name} ne 'Hidden' } @Queues ],
        qw(SeeQueue CreateTicket ShowTicket ModifyTicket ReplyToTicket CommentOnTicket ShowTicketComments
           SeeCustomField ModifyCustomField SetInitialCustomField)),
    rights('seeonly',    ['General'], qw(SeeQueue)),
    rights('createonly', ['General'], qw(CreateTicket)),
    (map { rights($_, ['General'], qw(SeeQueue CreateTicket ShowTicket)) } qw(nocf utf8 latin1)),
);
1;
