// Registers and descriptors of the 82599 that this driver uses, with the datasheet's names.
#ifndef REGISTERS_H
#define REGISTERS_H

#include <stdint.h>

// general (82599 datasheet, section 8.2.3.1)
#define CTRL 0x00000u
#define CTRL_MASTER_DISABLE (1u << 2)
#define CTRL_LRST (1u << 3)
#define CTRL_RST (1u << 26)
#define STATUS 0x00008u
#define STATUS_MASTER_ENABLED (1u << 19)
#define CTRL_EXT 0x00018u
#define CTRL_EXT_NS_DIS (1u << 16)
#define CTRL_EXT_DRV_LOAD (1u << 28)

// EEPROM (8.2.3.2)
#define EEC 0x10010u
#define EEC_AUTO_RD (1u << 9)

// interrupts (8.2.3.5)
#define EICR 0x00800u
#define EIMC 0x00888u
#define EIMC_ALL 0x7fffffffu
#define EIMC_EX(half) (0x00ab0u + 4 * (half))

// receive filters (8.2.3.7)
#define FCTRL 0x05080u
#define FCTRL_MPE (1u << 8)
#define FCTRL_UPE (1u << 9)
#define FCTRL_BAM (1u << 10)
#define RAL0 0x0a200u
#define RAH0 0x0a204u

// receive rings (8.2.3.8); queues 64 and above have other offsets
#define RDBAL(queue) (0x01000u + 0x40 * (queue))
#define RDBAH(queue) (0x01004u + 0x40 * (queue))
#define RDLEN(queue) (0x01008u + 0x40 * (queue))
#define DCA_RXCTRL(queue) (0x0100cu + 0x40 * (queue))
#define DCA_RXCTRL_RESERVED (1u << 12)
#define RDH(queue) (0x01010u + 0x40 * (queue))
#define SRRCTL(queue) (0x01014u + 0x40 * (queue))
#define SRRCTL_BSIZEPACKET_MASK 0x1fu
#define SRRCTL_DESCTYPE_MASK (7u << 25)
#define SRRCTL_DESCTYPE_ONE_BUFFER (1u << 25)
#define RDT(queue) (0x01018u + 0x40 * (queue))
#define RXDCTL(queue) (0x01028u + 0x40 * (queue))
#define RXDCTL_ENABLE (1u << 25)
#define RDRXCTL 0x02f00u
#define RDRXCTL_CRCSTRIP (1u << 1)
#define RDRXCTL_DMAIDONE (1u << 3)
#define RDRXCTL_RSCFRSTSIZE (0x1fu << 17)
#define RDRXCTL_RSCACKC (1u << 25)
#define RDRXCTL_FCOE_WRFIX (1u << 26)
#define RXCTRL 0x03000u
#define RXCTRL_RXEN (1u << 0)

// transmit (8.2.3.9)
#define DMATXCTL 0x04a80u
#define DMATXCTL_TE (1u << 0)
#define RTTDCS 0x04900u
#define RTTDCS_ARBDIS (1u << 6)
#define DTXMXSZRQ 0x08100u
#define MTQC 0x08120u
#define TDBAL(queue) (0x06000u + 0x40 * (queue))
#define TDBAH(queue) (0x06004u + 0x40 * (queue))
#define TDLEN(queue) (0x06008u + 0x40 * (queue))
#define TDH(queue) (0x06010u + 0x40 * (queue))
#define TDT(queue) (0x06018u + 0x40 * (queue))
#define TXDCTL(queue) (0x06028u + 0x40 * (queue))
#define TXDCTL_ENABLE (1u << 25)
#define TDWBAL(queue) (0x06038u + 0x40 * (queue))
#define TDWBAL_HEAD_WB (1u << 0)
#define TDWBAH(queue) (0x0603cu + 0x40 * (queue))

// statistics (8.2.3.23), cleared when they are read
#define GPRC 0x04074u
#define GPTC 0x04080u

// MAC and link (8.2.3.22)
#define HLREG0 0x04240u
#define HLREG0_TXCRCEN (1u << 0)
#define HLREG0_RXCRCSTRP (1u << 1)
#define HLREG0_JUMBOEN (1u << 2)
#define HLREG0_TXPADEN (1u << 10)
#define HLREG0_RXLNGTHERREN (1u << 27)
#define AUTOC 0x042a0u
#define AUTOC_LMS_MASK (7u << 13)
#define AUTOC_LMS_10G_SERIAL (3u << 13)
#define AUTOC_RESTART_AN (1u << 12)
#define LINKS 0x042a4u
#define LINKS_UP (1u << 30)
#define AUTOC2 0x042a8u
#define AUTOC2_10G_SERIAL_MASK (3u << 16)
#define AUTOC2_10G_SERIAL_SFI (2u << 16)

// A descriptor of either ring: two little-endian words (7.1.6, 7.2.3).
struct descriptor {
	uint64_t first;
	uint64_t second;
};

// second word of a receive descriptor that was written back
#define RX_DD (1ull << 0)
#define RX_EOP (1ull << 1)
#define RX_RXE (1ull << 29)
#define RX_LENGTH(second) ((uint16_t)((second) >> 32))

// second word of a transmit data descriptor
#define TX_DATA (3ull << 20)
#define TX_EOP (1ull << 24)
#define TX_IFCS (1ull << 25)
#define TX_RS (1ull << 27)
#define TX_DEXT (1ull << 29)
#define TX_DD (1ull << 32)
#define TX_PAYLEN(length) ((uint64_t)(length) << 46)

#endif
