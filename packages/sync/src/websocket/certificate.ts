import { createHash, createPrivateKey, generateKeyPair, randomBytes, X509Certificate } from 'node:crypto';
import { promisify } from 'node:util';
import { TransportError } from './errors.ts';

/** PEM. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

const DAY = 86_400_000;
const LIFE_DAYS = 365;

/**
 * A certificate that vouches for itself, for this one start: RSA-2048, a year. Nodes do not look at its names or dates;
 * they pin its fingerprint.
 */
export const createCertificate = async (now = Date.now()): Promise<Certificate> => {
  // Rarely needed and large, so only then.
  const { default: forge } = await import('node-forge');
  const { publicKey, privateKey } = await promisify(generateKeyPair)('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  const certificate = forge.pki.createCertificate();
  certificate.publicKey = forge.pki.publicKeyFromPem(publicKey);
  // A positive number: the first bit is 0.
  certificate.serialNumber = `01${randomBytes(16).toString('hex')}`;
  certificate.validity.notBefore = new Date(now - DAY);
  certificate.validity.notAfter = new Date(now + LIFE_DAYS * DAY);
  const name = [{ name: 'commonName', value: 'lockstep' }];
  certificate.setSubject(name);
  certificate.setIssuer(name);
  certificate.setExtensions([
    { name: 'basicConstraints', cA: false, critical: true },
    { name: 'keyUsage', digitalSignature: true, keyEncipherment: true, critical: true },
    { name: 'extKeyUsage', serverAuth: true },
    { name: 'subjectAltName', altNames: [{ type: 2, value: 'lockstep' }] },
  ]);
  certificate.sign(forge.pki.privateKeyFromPem(privateKey), forge.md.sha256.create());
  return { cert: forge.pki.certificateToPem(certificate), key: privateKey };
};

/** SHA-256 of a certificate (of its DER bytes), in lower-case hexadecimal. */
export const fingerprintOf = (der: Uint8Array): string => createHash('sha256').update(der).digest('hex');

/** SHA-256 of the first certificate in a PEM text. Throws an Error when there is none. */
export const fingerprintOfPem = (pem: string | Buffer): string => fingerprintOf(new X509Certificate(pem).raw);

/** Throws a TransportError where a server could not serve with it. */
export const checkCertificate = ({ cert, key }: Certificate): void => {
  const read = <T>(what: string, make: () => T): T => {
    try {
      return make();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new TransportError(
        'CERTIFICATE_MALFORMED',
        `the ${what} is not PEM that can be read (${reason})`,
      );
    }
  };
  const certificate = read('certificate', () => new X509Certificate(cert));
  if (certificate.checkPrivateKey(read('key', () => createPrivateKey(key)))) return;
  throw new TransportError(
    'CERTIFICATE_MALFORMED',
    'the key is not that of the certificate (the first one in its file)',
  );
};

/** A fingerprint as people write it (colons, upper case) in our form. Throws a TransportError when it is none. */
export const parseFingerprint = (text: string): string => {
  const digits = text.replaceAll(':', '').toLowerCase();
  if (!/^[\da-f]{64}$/.test(digits)) {
    throw new TransportError(
      'FINGERPRINT_MALFORMED',
      `got ${text.length} characters, expected the 64 hexadecimal digits of a SHA-256`,
    );
  }
  return digits;
};
