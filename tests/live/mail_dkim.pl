# Signs and verifies with Mail::DKIM for the tests: one JSON object per line in, one out. Octets travel in base64.
#   {"op": "sign", "scheme": "dkim"|"domainkeys", "canon": ..., "algorithm": ..., "domain": ..., "selector": ...,
#    "key": FILE, "headers": "a:b:c" or "", "message": ...}                           -> {"field": ...}
#   {"op": "verify", "records": {NAME: TXT}, "message": ...}                          -> {"results": [...]}
use strict;
use warnings;
use JSON::PP;
use MIME::Base64;
use Net::DNS;
use Mail::DKIM::Signer;
use Mail::DKIM::Verifier;
use Mail::DKIM::DkSignature;

my $records = {};
{
    no warnings 'redefine';
    *Mail::DKIM::DNS::query = sub {
        my ( $name, $type ) = @_;
        my $text = $records->{ lc $name };
        if ( !defined $text ) { $@ = 'NXDOMAIN'; return; }
        my @strings = unpack( '(a250)*', $text );
        return Net::DNS::RR->new( owner => $name, type => 'TXT', txtdata => \@strings );
    };
}

sub sign {
    my ($request) = @_;
    my $policy = sub {
        my ($signer) = @_;
        my $headers = $request->{headers} || $signer->headers;
        my %common = (
            Algorithm => $request->{algorithm},
            Method    => $request->{canon},
            Headers   => $headers,
            Domain    => $request->{domain},
            Selector  => $request->{selector},
        );
        if ( $request->{scheme} eq 'domainkeys' ) {
            $signer->add_signature( Mail::DKIM::DkSignature->new(%common) );
        }
        else {
            $signer->add_signature( Mail::DKIM::Signature->new(%common) );
        }
        return 1;
    };
    my $signer = Mail::DKIM::Signer->new( Policy => $policy, KeyFile => $request->{key} );
    $signer->PRINT( decode_base64( $request->{message} ) );
    $signer->CLOSE;
    return { field => encode_base64( $signer->signature->as_string, '' ) };
}

sub verify {
    my ($request) = @_;
    $records = $request->{records};
    my $verifier = Mail::DKIM::Verifier->new;
    $verifier->PRINT( decode_base64( $request->{message} ) );
    $verifier->CLOSE;
    my @results = map {
        {
            scheme => ( $_->isa('Mail::DKIM::DkSignature') ? 'domainkeys' : 'dkim' ),
            result => $_->result,
            detail => $_->result_detail,
        }
    } $verifier->signatures;
    return { results => \@results };
}

$| = 1;
while ( my $line = <STDIN> ) {
    my $request = decode_json($line);
    my $reply   = eval { $request->{op} eq 'sign' ? sign($request) : verify($request) };
    $reply = { error => "$@" } if !defined $reply;
    print encode_json($reply), "\n";
}
