// Encrypts standard input with the AWS Encryption SDK and decrypts it again, through streams as files
// are. The key and the region come from the arguments; where the key service is, and who calls it,
// from the environment, as in every program of the AWS SDK.
const { pipeline } = require('node:stream/promises')
const { buildClient, CommitmentPolicy, KmsKeyringNode } = require('@aws-crypto/client-node')

const { encryptStream, encrypt, decrypt, decryptStream } = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)

async function main ([generatorKeyId, otherKeyId]) {
  const keyring = new KmsKeyringNode({ generatorKeyId, keyIds: [otherKeyId] })
  const encryptionContext = { purpose: 'test', path: '/café' }
  const chunks = []
  for await (const chunk of process.stdin) chunks.push(chunk)
  const plaintext = Buffer.concat(chunks)

  const { result } = await encrypt(keyring, plaintext, { encryptionContext })
  if (result.includes(plaintext.subarray(0, 32))) throw new Error('not encrypted')
  // Either key opens it.
  for (const keyId of [generatorKeyId, otherKeyId]) {
    const opened = await decrypt(new KmsKeyringNode({ keyIds: [keyId] }), result)
    if (!opened.plaintext.equals(plaintext)) throw new Error('another plaintext')
    for (const [name, value] of Object.entries(encryptionContext)) {
      if (opened.messageHeader.encryptionContext[name] !== value) throw new Error(`another ${name}`)
    }
  }
  // And as a stream.
  await pipeline([plaintext], encryptStream(keyring, { encryptionContext }), decryptStream(keyring), process.stdout)
}

main(process.argv.slice(2)).catch(err => {
  console.error(err)
  process.exit(1)
})
