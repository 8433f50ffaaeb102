/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dns_reflect.c -- the floor for bench-dns: reads UDP datagrams in batches, sets QR and sends them
 * back. usage: dns_reflect ADDRESS PORT
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define BATCH 64

int main(int argc, char **argv)
{
	static struct mmsghdr msgs[BATCH];
	static struct iovec vec[BATCH];
	static struct sockaddr_in peer[BATCH];
	static unsigned char buffer[BATCH][2048];
	struct sockaddr_in own = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_DGRAM, 0), size = 4 << 20;

	if (argc != 3 || fd < 0 || inet_pton(AF_INET, argv[1], &own.sin_addr) != 1)
		return 2;
	own.sin_port = htons((unsigned short)atoi(argv[2]));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	if (bind(fd, (struct sockaddr *)&own, sizeof(own))) {
		perror("bind");
		return 1;
	}
	for (;;) {
		int n;

		for (int i = 0; i < BATCH; i++) {
			vec[i] = (struct iovec){ buffer[i], sizeof(buffer[i]) };
			msgs[i].msg_hdr = (struct msghdr){ .msg_name = &peer[i],
							   .msg_namelen = sizeof(peer[i]),
							   .msg_iov = &vec[i],
							   .msg_iovlen = 1 };
		}
		n = recvmmsg(fd, msgs, BATCH, MSG_WAITFORONE, NULL);
		for (int i = 0; i < n; i++) {
			buffer[i][2] |= 0x80;
			vec[i].iov_len = msgs[i].msg_len;
		}
		if (n > 0)
			(void)sendmmsg(fd, msgs, (unsigned int)n, 0);
	}
}
