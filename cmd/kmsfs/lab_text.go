package main

// labTexts names the steps and tells what EBS and EC2 do at the same point, after AWS's documentation
// of unusable KMS keys.
var labTexts = [...]struct{ title, ebs string }{
	{
		"Create a volume under a KMS key. The wrapped data key is stored with the data.",
		"EBS asks KMS for a data key under the KMS key that you name, and stores the encrypted data key in the volume's metadata.",
	},
	{
		"Use it. The data key is unwrapped and held; reads and writes need the KMS key no more.",
		"On attachment EC2 has KMS decrypt the volume's data key and keeps it in the Nitro hardware, which encrypts all disk I/O for as long as the volume is attached.",
	},
	{
		"Disable the KMS key. What is in use goes on.",
		"Nothing happens to the instance or the volume: disk I/O uses the data key in the Nitro hardware, not the KMS key.",
	},
	{
		"Close it. The data key is gone, the next open fails; enable the KMS key and it opens again.",
		"On detachment the data key is removed from the Nitro hardware. The next attachment fails, because the encrypted data key cannot be decrypted, until the KMS key is enabled.",
	},
}
