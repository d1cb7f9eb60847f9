#ifndef KMSFS_PKCS11_REGISTERS_H
#define KMSFS_PKCS11_REGISTERS_H

/* Clears the vector registers that a call may change. The C library copies through them, and
 * registers that no other code uses (on x86-64 those from 16 up) would keep a key for as long as the
 * thread lives; the next signal, such as Go's to preempt a thread, would write it to memory. */

#if defined(__x86_64__)

static inline void clear_vector_registers(void) {
	if (!__builtin_cpu_supports("avx")) {
		__asm__ volatile(
			"pxor %%xmm0, %%xmm0\n\tpxor %%xmm1, %%xmm1\n\tpxor %%xmm2, %%xmm2\n\tpxor %%xmm3, %%xmm3\n\t"
			"pxor %%xmm4, %%xmm4\n\tpxor %%xmm5, %%xmm5\n\tpxor %%xmm6, %%xmm6\n\tpxor %%xmm7, %%xmm7\n\t"
			"pxor %%xmm8, %%xmm8\n\tpxor %%xmm9, %%xmm9\n\tpxor %%xmm10, %%xmm10\n\tpxor %%xmm11, %%xmm11\n\t"
			"pxor %%xmm12, %%xmm12\n\tpxor %%xmm13, %%xmm13\n\tpxor %%xmm14, %%xmm14\n\tpxor %%xmm15, %%xmm15"
			::: "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
			"xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
		return;
	}
	__asm__ volatile("vzeroall" ::: "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
		"xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
	if (__builtin_cpu_supports("avx512f")) /* the compiler does not use these: nothing to declare */
		__asm__ volatile(".irp n, 16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n\t"
			"vpxord %zmm\\n, %zmm\\n, %zmm\\n\n\t.endr");
}

#elif defined(__aarch64__)

static inline void clear_vector_registers(void) {
	__asm__ volatile(".irp n, 0,1,2,3,4,5,6,7,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n\t"
		"movi v\\n\\().16b, #0\n\t.endr"
		::: "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v16", "v17", "v18", "v19", "v20", "v21",
		"v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31");
}

#else

static inline void clear_vector_registers(void) {}

#endif

#endif
