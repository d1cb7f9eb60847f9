"""A key's life with boto3, unmodified. The endpoint, the authority to trust and the access key come
from the environment and the first argument."""
import json
import sys
import time

import boto3
from botocore.exceptions import ClientError

kms = boto3.client("kms", endpoint_url=sys.argv[1], region_name="eu-central-1")


def refused(code, call, **args):
    try:
        call(**args)
    except ClientError as e:
        assert e.response["Error"]["Code"] == code, e
        assert e.response["ResponseMetadata"]["RequestId"], e
        return e.response["Error"]["Message"]
    raise AssertionError(f"{code} was expected")


key = kms.create_key(Description="größer", Tags=[{"TagKey": "a", "TagValue": "b"}])["KeyMetadata"]
assert key["KeyState"] == "Enabled" and key["Arn"].startswith("arn:aws:kms:eu-central-1:"), key
assert abs(key["CreationDate"].timestamp() - time.time()) < 60, key["CreationDate"]
assert kms.describe_key(KeyId=key["Arn"])["KeyMetadata"] == key

kms.create_alias(AliasName="alias/boto", TargetKeyId=key["KeyId"])
context = {"purpose": "tëst", "empty": ""}
secret = bytes(range(256)) * 16
sealed = kms.encrypt(KeyId="alias/boto", Plaintext=secret, EncryptionContext=context)
opened = kms.decrypt(CiphertextBlob=sealed["CiphertextBlob"], EncryptionContext=context)
assert opened["Plaintext"] == secret and opened["KeyId"] == key["Arn"]
refused("InvalidCiphertextException", kms.decrypt, CiphertextBlob=sealed["CiphertextBlob"])

data = kms.generate_data_key(KeyId="alias/boto", NumberOfBytes=24, EncryptionContext=context)
assert len(data["Plaintext"]) == 24
hidden = kms.generate_data_key_without_plaintext(KeyId="alias/boto", KeySpec="AES_128")
assert "Plaintext" not in hidden
moved = kms.re_encrypt(CiphertextBlob=data["CiphertextBlob"], SourceEncryptionContext=context, DestinationKeyId=key["Arn"])
assert kms.decrypt(CiphertextBlob=moved["CiphertextBlob"])["Plaintext"] == data["Plaintext"]
assert len(kms.generate_random(NumberOfBytes=1024)["Plaintext"]) == 1024

kms.enable_key_rotation(KeyId=key["KeyId"])
assert kms.get_key_rotation_status(KeyId=key["KeyId"])["KeyRotationEnabled"]

for _ in range(4):
    kms.create_key()
pages = list(kms.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 2}))
assert len(pages) == 3 and sum(len(p["Keys"]) for p in pages) == 5, pages

grant = kms.create_grant(KeyId=key["KeyId"], GranteePrincipal="arn:aws:iam::111122223333:user/x", Operations=["Decrypt"])
assert kms.list_grants(KeyId=key["KeyId"])["Grants"][0]["GrantId"] == grant["GrantId"]
kms.retire_grant(GrantToken=grant["GrantToken"])

assert kms.list_key_policies(KeyId=key["KeyId"])["PolicyNames"] == ["default"]
policy = kms.get_key_policy(KeyId=key["KeyId"], PolicyName="default")["Policy"]
assert json.loads(policy)["Statement"][0]["Principal"] == {"AWS": "arn:aws:iam::111122223333:root"}, policy
compact = json.dumps(json.loads(policy), sort_keys=True)
kms.put_key_policy(KeyId=key["Arn"], PolicyName="default", Policy=compact)
assert kms.get_key_policy(KeyId=key["KeyId"], PolicyName="default")["Policy"] == compact
refused("UnsupportedOperationException", kms.put_key_policy, KeyId=key["KeyId"], PolicyName="default", Policy=compact.replace("kms:*", "kms:Decrypt"))
refused("MalformedPolicyDocumentException", kms.create_key, Policy=compact[1:])

if hasattr(kms, "get_key_last_usage"):  # not in old versions
    assert kms.get_key_last_usage(KeyId=key["KeyId"])["KeyLastUsage"]["Operation"] == "Decrypt"
    assert kms.get_key_last_usage(KeyId=pages[0]["Keys"][0]["KeyId"])["TrackingStartDate"]

message = refused("ValidationException", kms.schedule_key_deletion, KeyId=key["KeyId"], PendingWindowInDays=6)
assert message.startswith("1 validation error detected: Value '6' at 'pendingWindowInDays' failed"), message
kms.disable_key(KeyId=key["KeyId"])
assert refused("DisabledException", kms.encrypt, KeyId=key["KeyId"], Plaintext=b"x") == key["Arn"] + " is disabled."
gone = kms.schedule_key_deletion(KeyId=key["KeyId"], PendingWindowInDays=7)
assert 6.9 < (gone["DeletionDate"] - key["CreationDate"]).total_seconds() / 86400 < 7.1, gone
kms.cancel_key_deletion(KeyId=key["KeyId"])
assert kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"] == "Disabled"

identity = boto3.client("sts", endpoint_url=sys.argv[1], region_name="eu-central-1").get_caller_identity()
assert identity["Arn"] == "arn:aws:iam::111122223333:user/admin", identity
