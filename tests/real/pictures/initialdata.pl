# What the picture's RT has beside that of the tests (../rt/initialdata.pl): a reader of tickets, whose pages have few forms.

our @Users = (
    { Name => 'ada', RealName => 'Ada', Password => 'ada-password', EmailAddress => 'ada@example.org', Privileged => 1 },
);

our @ACL = map { { UserId => 'ada', Queue => 'NOC', Right => $_ } } qw(SeeQueue ShowTicket SeeCustomField);

our @Final = (
    sub {
        # Only the tests want this field.
        my $must = RT::CustomField->new(RT->SystemUser);
        $must->LoadByName(Name => 'Must', Queue => 'NOC');
        my ($ok, $message) = $must->SetDisabled(1);
        die "Must: $message\n" unless $ok;
    },
);
1;
